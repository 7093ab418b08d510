// Starts the web client with the settings that the page carries.
//
// The page says which paths lead to this server; under which name and port it is reached, only the browser knows.

import converse from "./converse.min.js";

const settings = JSON.parse(document.getElementById("settings").textContent);
const assets = new URL(".", import.meta.url);

settings.assets_path = assets.pathname;
if (settings.bosh_service_url) {
  settings.bosh_service_url = new URL(settings.bosh_service_url, location.href).href;
}
if (settings.websocket_url) {
  const address = new URL(settings.websocket_url, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  settings.websocket_url = address.href;
}

converse.initialize(settings);
