-- Serves a web client (converse.js) as the start page of a host.
--
-- The files come from a folder and are not changed; the page and the settings are made for this host. A browser that
-- has the page talks to this server and to its upload service, and to nobody else: the policy of the page says so.

-- luacheck: globals module prosody

local files = require "prosody.net.http.files"
local hashes = require "prosody.util.hashes"
local hostmanager = require "prosody.core.hostmanager"
local json = require "prosody.util.json"
local lfs = require "lfs"
local render = require("prosody.util.interpolation").new("%b{}", require("prosody.util.stanza").xml_escape)
local url = require "socket.url"

module:depends("http")

local year = 31536000
local media_types = {
	css = "text/css; charset=utf-8", html = "text/html; charset=utf-8", js = "text/javascript; charset=utf-8";
	json = "application/json", map = "application/json", wasm = "application/wasm";
	gif = "image/gif", ico = "image/vnd.microsoft.icon", jpg = "image/jpeg", png = "image/png", svg = "image/svg+xml";
	webp = "image/webp", mp3 = "audio/mpeg", ogg = "audio/ogg";
	ttf = "font/ttf", woff = "font/woff", woff2 = "font/woff2";
}

local directory = module:get_option_path("container_web_directory", "/usr/share/javascript/converse.js/dist")

local function read_resource(name)
	local file = assert(module:load_resource(name, "rb"))
	local content = file:read("a")
	file:close()
	return content
end

local page, start = read_resource("page.html"), read_resource("start.js")

--- Differs when the files do, so that a browser can keep what it got under it for ever.
local function version()
	local attributes = lfs.attributes(directory .. "/converse.min.js") or { size = 0, modification = 0 }
	return hashes.sha256(("%d %d %s"):format(attributes.size, attributes.modification, start), true):sub(1, 16)
end

--- The path of a service as browsers see it: behind a reverse proxy there may be more in front of it.
local function path_of(service, default_path)
	return url.parse(module:http_url(service, default_path)).path
end

local function has_module(name)
	return prosody.hosts[module.host].modules[name] ~= nil
end

--- Components of one kind below this host, by name.
local function list_components(name)
	local found = {}
	for host in pairs(hostmanager.get_children(module.host)) do
		if prosody.hosts[host] and prosody.hosts[host].modules[name] then found[#found + 1] = host end
	end
	table.sort(found)
	return found
end

local function may_register()
	return module:get_option_boolean("allow_registration", false)
		and not module:get_option_boolean("registration_invite_only", true)
end

--- What converse.js is told. Whatever would ask other servers is switched off.
local function make_settings()
	local settings = {
		allow_registration = may_register();
		authentication = "login";
		autocomplete_providers_url = "";
		bosh_service_url = has_module("bosh") and path_of("bosh", "/http-bind") or nil;
		default_domain = module.host;
		discover_connection_methods = false;
		embed_3rd_party_media_players = false;
		muc_domain = list_components("muc")[1];
		muc_search_service = "";
		providers_link = "";
		registration_domain = module.host;
		view_mode = "fullscreen";
		websocket_url = has_module("websocket") and path_of("websocket", "/xmpp-websocket") or nil;
		xmpp_providers_url = "";
	}
	for name, value in pairs(module:get_option("container_web_settings", {})) do settings[name] = value end
	-- "</script>" within a text would end the element, wherever it stands.
	return (json.encode_ordered(settings):gsub("[<>&]", { ["<"] = "\\u003c", [">"] = "\\u003e", ["&"] = "\\u0026" }))
end

--- Origins of the upload services, which have names of their own. A browser's address of this server may have another
-- port than the server knows of, so that any port of these names will do.
local function list_origins()
	local origins = {}
	for _, host in ipairs(list_components("http_file_share")) do
		local parsed = url.parse(module:context(host):http_url("file_share", "/file_share"))
		origins[#origins + 1] = " " .. parsed.host .. ":*"
	end
	return table.concat(origins)
end

local function make_policy()
	local origins = list_origins()
	return table.concat({
		"default-src 'none'";
		-- End-to-end encryption is compiled to WebAssembly.
		"script-src 'self' 'wasm-unsafe-eval'";
		-- Templates set the style of single elements.
		"style-src 'self' 'unsafe-inline'";
		"font-src 'self'";
		"img-src 'self' data: blob:" .. origins;
		"media-src 'self' data: blob:" .. origins;
		"connect-src 'self'" .. origins;
		"worker-src 'self'";
		"manifest-src 'self'";
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'";
	}, "; ")
end

local function set_headers(response, cache_control)
	local headers = response.headers
	headers.cache_control = cache_control
	headers.cross_origin_opener_policy = "same-origin"
	headers.cross_origin_resource_policy = "same-origin"
	headers.referrer_policy = "no-referrer"
	headers.x_content_type_options = "nosniff"
end

local serve_file = files.serve { path = directory, mime_map = media_types, index_files = {} }

local function answer_page(event)
	local response = event.response
	set_headers(response, "no-cache")
	response.headers.content_security_policy = make_policy()
	response.headers.content_type = media_types.html
	return render(page, {
		title = module:get_option_string("name", module.host);
		assets = ("web-client/%s/"):format(version());
		settings = make_settings();
	})
end

--- Files below web-client/VERSION/.
local function answer_file(event, path)
	local wanted, rest = path:match("^([^/]*)/(.+)$")
	if not rest then return 404 end
	set_headers(event.response, wanted == version() and ("public, max-age=%d, immutable"):format(year) or "no-cache")
	if rest == "start.js" then
		event.response.headers.content_type = media_types.js
		return start
	end
	-- Of the folder there is to be seen only what a browser has use for.
	if not media_types[(rest:match("%.(%w+)$") or ""):lower()] then return 404 end
	return serve_file(event, "/" .. rest)
end

-- The library for end-to-end encryption looks for this one beside the page, wherever it comes from itself.
local encryption_library = "curve25519_compiled.wasm"

module:provides("http", {
	default_path = "/";
	-- Nothing of this is for scripts of other pages.
	cors = { enabled = false };
	route = {
		["GET /"] = answer_page;
		["GET /web-client/*"] = answer_file;
		["GET /" .. encryption_library] = function(event)
			return answer_file(event, "/" .. encryption_library)
		end;
	};
})
