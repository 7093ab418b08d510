-- Gives the certificate that the server made itself to those who want to import it: at /certificate.pem, and with
-- "prosodyctl mod_container_authority" on standard output. Of a file that holds the key as well nothing is read.

-- luacheck: globals module

module:set_global()

local new_tools = require("container.certificates.tools").new
local own = require "container.certificates.own"

--- The pair without its ending; nil where the server did not make one.
local function own_pair()
	local plan = module:get_option("container_certificates")
	return type(plan) == "table" and plan.own or nil
end

local function answer(event)
	local report = module:shared("/*/container_certificates/state").report
	-- With certificates of others nothing has to be imported.
	local text = report and report.own and own.anchor(own_pair(), new_tools())
	if not text then return 404 end
	event.response.headers.content_type = "application/x-x509-ca-cert"
	event.response.headers.content_disposition = 'inline; filename="certificate.pem"'
	event.response.headers.cache_control = "no-cache"
	event.response.headers.x_content_type_options = "nosniff"
	return text
end

module:depends("http")
module:provides("http", { default_path = "/", route = { ["GET /certificate.pem"] = answer } })

function module.command()
	local pair = own_pair()
	local text, reason
	if pair then text, reason = own.anchor(pair, new_tools()) end
	if not text then
		io.stderr:write("There is no certificate that the server made itself", reason and ": " .. reason or "", "\n")
		return 1
	end
	io.write(text)
	return 0
end
