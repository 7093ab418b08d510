-- The first program of the container: checks what can be checked before the server starts, prepares what the
-- server cannot prepare by itself, then becomes the server (or prosodyctl) within the same process.

local root = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = root .. "/?.lua;" .. package.path

local exit_status = { usage = 64, data = 73, user = 77, configuration = 78 }

local usage = [==[
usage: [prosody [OPTION…]]        run the server (this is also what happens without any argument)
       prosodyctl COMMAND…        run prosodyctl, for example: prosodyctl shell
       check                      check the environment variables and print the effective ones]==]

local function say(message)
	for line in (message .. "\n"):gmatch("(.-)\n") do
		io.stderr:write("prosody-container: ", line, "\n")
	end
end

local function stop(status, message)
	if message then say(message) end
	os.exit(status, true)
end

local restore_libraries = require("container.libraries").prepare()
local pposix = require "prosody.util.pposix"

local uid, gid = pposix.getuid(), pposix.getgid()

local function refuse_root()
	if uid ~= 0 then return end
	stop(exit_status.user, "refusing to run as root: nothing here needs it.\n"
		.. "Use --user 5222:5222 (the default of the image), or any other uid and gid but 0.")
end

--- Everything of the environment and the certificates that is wrong, together.
local function read_settings()
	local certificates = require "container.certificates"
	local encodings = require "prosody.util.encodings"
	local lfs = require "lfs"
	local ssl = require "ssl"
	local x509 = require "prosody.util.x509"

	local settings = require "container.settings"

	local result = settings.read()
	result.tools = {
		lfs = lfs;
		read = settings.read_file;
		load = function(content)
			local loaded, certificate = pcall(ssl.loadcertificate, content)
			return loaded and certificate or nil
		end;
		newcontext = ssl.newcontext;
		identities = x509.get_identities;
		umask = pposix.umask;
		ascii = encodings.idna.to_ascii;
		uid = uid;
		now = os.time();
	}

	local directory, domain = result.values.PROSODY_CERTIFICATES, result.values.PROSODY_DOMAIN
	local mode = directory and lfs.attributes(directory, "mode")
	result.covering = {}
	if mode == "directory" and domain then
		local found = certificates.inspect(directory, domain, result.tools)
		table.move(found.problems, 1, #found.problems, #result.problems + 1, result.problems)
		table.move(found.notes, 1, #found.notes, #result.notes + 1, result.notes)
		result.covering = found.covering
	elseif mode == "file" then
		result.covering = { directory }
	elseif directory and result.origins.PROSODY_CERTIFICATES ~= "default" then
		table.insert(result.problems, ("PROSODY_CERTIFICATES: there is no folder %s"):format(directory))
	end
	return result
end

local function stop_at_problems(result)
	if #result.problems == 0 then return end
	for _, problem in ipairs(result.problems) do say(problem) end
	stop(exit_status.configuration, ("not started: %d problem%s, see above"):format(
		#result.problems, #result.problems == 1 and "" or "s"))
end

--- A file made and removed again; nil and the reason when that fails.
local function probe(directory)
	local path = ("%s/.probe-%d"):format(directory, pposix.getpid())
	local file, reason = io.open(path, "wb")
	if not file then return nil, (reason:gsub("^.*: ", "")) end
	local written, failure = file:write("probe"), nil
	local closed, close_failure = file:close()
	os.remove(path)
	if not written or not closed then return nil, failure or close_failure or "cannot write" end
	return true
end

local function stop_at_unwritable_data()
	local lfs = require "lfs"
	local surroundings = require "container.surroundings"
	local data_directory = surroundings.data_directory
	local unwritable, reason
	local function try(directory)
		local writable, why = probe(directory)
		if not writable and not unwritable then unwritable, reason = directory, why end
	end
	try(data_directory)
	-- The folder may be fine while its content still belongs to the user of another image.
	for _, name in ipairs(surroundings.list(data_directory)) do
		local path = data_directory .. "/" .. name
		local attributes = lfs.symlinkattributes(path)
		if attributes and attributes.mode == "directory" and attributes.uid ~= uid and name ~= "lost+found" then
			try(path)
		end
	end
	if not unwritable then return end
	stop(exit_status.data, ("%s cannot be written by uid %d, gid %d: %s\n"):format(unwritable, uid, gid, reason)
		.. ("If it is a folder of the host:  chown -R %d:%d FOLDER\n"):format(uid, gid)
		.. ("If it is a named volume:        docker run --rm -v VOLUME:/data busybox chown -R %d:%d /data\n"):format(uid, gid)
		.. "Or run the container as the user that owns it:  --user UID:GID")
end

--- Without any certificate nobody could log in, and no message would say why.
local function ensure_certificate(result)
	if #result.covering > 0 then return end
	local certificates = require "container.certificates"
	local surroundings = require "container.surroundings"
	local values = result.values
	local names = { values.PROSODY_DOMAIN }
	for _, name in ipairs { values.PROSODY_MUC_DOMAIN or nil, values.PROSODY_UPLOAD_DOMAIN or nil } do
		names[#names + 1] = name
	end
	local pair = surroundings.own_pair(values.PROSODY_DOMAIN)
	local fingerprint = certificates.check_own(pair, names, result.tools)
	local verb = "using the self-signed certificate made earlier"
	if not fingerprint then
		local failure
		fingerprint, failure = certificates.make_own(pair, names, result.tools)
		verb = "made a self-signed certificate"
		if not fingerprint then
			stop(exit_status.data, ("the self-signed certificate %s.crt cannot be written: %s"):format(pair, failure))
		end
	end
	say(("no certificate for %s in %s: %s"):format(values.PROSODY_DOMAIN, values.PROSODY_CERTIFICATES, verb))
	say(("  %s.crt, SHA-256 fingerprint %s"):format(pair, fingerprint))
	say(("  Others will not trust it. Put your own into %s, as NAME.crt and NAME.key or as"):format(
		values.PROSODY_CERTIFICATES))
	say("  fullchain.pem and privkey.pem, and restart.")
end

--- Runs a program of Prosody's in this process, as if it had been called with these arguments.
local function become(program, arguments)
	restore_libraries()
	arguments[0] = program
	_G.arg = arguments
	dofile(program)
end

local function run_server(arguments)
	for _, argument in ipairs(arguments) do
		if argument == "-D" or argument == "--daemonize" then
			stop(exit_status.usage, "prosody " .. argument .. ": a container ends when its first program does, so the server"
				.. " must stay in the foreground")
		end
	end
	refuse_root()
	local result = read_settings()
	for _, note in ipairs(result.notes) do say("note: " .. note) end
	stop_at_problems(result)
	stop_at_unwritable_data()
	-- The server does not set it, whatever its option of that name says.
	pposix.umask("027")
	ensure_certificate(result)
	table.insert(arguments, 1, "-F")
	become("/usr/bin/prosody", arguments)
end

local function run_control(arguments)
	-- Prosody's own status command wants a pid file; the health check answers the question better.
	if arguments[1] == "status" and #arguments == 1 then return dofile(root .. "/health.lua") end
	refuse_root()
	stop_at_problems(require("container.settings").read())
	become("/usr/bin/prosodyctl", arguments)
end

local function check(arguments)
	if #arguments > 0 then stop(exit_status.usage, usage) end
	local result = read_settings()
	local environment = require "container.environment"
	for _, line in ipairs(environment.describe(result, require "container.catalogue")) do print(line) end
	for _, note in ipairs(result.notes) do say("note: " .. note) end
	for _, problem in ipairs(result.problems) do say(problem) end
	stop(#result.problems > 0 and exit_status.configuration or 0)
end

local commands = { prosody = run_server, prosodyctl = run_control, check = check }

local arguments = table.move(arg, 1, #arg, 1, {})
local command = table.remove(arguments, 1) or "prosody"
if command:find("^%-") and command ~= "--help" and command ~= "-h" then
	table.insert(arguments, 1, command)
	command = "prosody"
end
if not commands[command] then
	local is_help = command == "--help" or command == "-h" or command == "help"
	if not is_help then say("unknown command " .. require("container.types").printable(command)) end
	stop(is_help and 0 or exit_status.usage, usage)
end
commands[command](arguments)
