-- The first program of the container: checks what can be checked before the server starts, prepares what the
-- server cannot prepare by itself, then becomes the server (or prosodyctl) within the same process.

local root = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = root .. "/?.lua;" .. package.path

local exit_status = { usage = 64, data = 73, user = 77, configuration = 78 }

local usage = [==[
usage: [prosody [OPTION…]]        run the server (this is also what happens without any argument)
       prosodyctl COMMAND…        run prosodyctl, for example: prosodyctl shell
       check                      check variables, files and certificates, and print the effective configuration
       config                     print it as JSON
       modules                    list all modules that can be loaded
       migrate FROM TO            copy all data between internal, SQLite3 and the database of PROSODY_SQL_DRIVER]==]

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

local image_configuration = "/usr/local/lib/prosody-container/prosody.cfg.lua"
local data_directory = "/var/lib/prosody"

local image_user = 5222

--- The user and group that the data belongs to: those of the folder, or of what lies in it. The ones of the image where
-- there is nothing yet, or only what is root's.
local function owner_of_data()
	local lfs = require "lfs"
	local paths = { data_directory }
	for _, name in ipairs(require("container.drop_ins").list(data_directory)) do
		paths[#paths + 1] = data_directory .. "/" .. name
	end
	for _, path in ipairs(paths) do
		local attributes = lfs.symlinkattributes(path)
		if attributes and attributes.uid ~= 0 then
			return attributes.uid, attributes.gid ~= 0 and attributes.gid or image_user
		end
	end
	return image_user, image_user
end

--- Started as root only to become the owner of the data. Whatever is run: what it reads and writes must be what the
-- server can read and write.
local function drop_root()
	if pposix.getuid() ~= 0 then return end
	local user, group = owner_of_data()
	-- Groups first: without the rights of root they could not be given up any more.
	local dropped = pposix.initgroups("prosody", group) and pposix.setgid(group) == true and pposix.setuid(user) == true
	if not dropped or pposix.getuid() == 0 then
		stop(exit_status.user, ("started as root, but it is not possible to become %d:%d\n"):format(user, group)
			.. "Use --user 5222:5222 (the default of the image) or any other user, or leave root the capabilities SETUID,\n"
			.. "SETGID and KILL (the last one for docker stop).")
	end
end

--- The environment and the certificates; with write, certificates are made ready to be served.
local function read_settings(write)
	local certificates = require "container.certificates"
	local configuration = require "container.configuration"
	local certificate_tools = require "container.certificates.tools"
	local settings = require "container.settings"

	local result = settings.read()
	result.lines = {}
	if #result.problems == 0 and (result.plan.main or result.plan.file_hosts[1]) then
		local plan = configuration.certificate_plan(result.values, result.plan, result.surroundings)
		local report = certificates[write and "refresh" or "inspect"](plan, certificate_tools.new())
		local function add(lines, target) table.move(lines, 1, #lines, #target + 1, target) end
		add(report.problems, result.problems)
		add(report.warnings, result.notes)
		add(report.notes, result.notes)
		result.lines = certificates.lines(report)
		result.is_unwritable = report.unwritable
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
	local written, reason = require("container.files").write(path, "probe")
	os.remove(path)
	return written, reason
end

local function stop_at_unwritable_data()
	local drop_ins = require "container.drop_ins"
	local lfs = require "lfs"
	local uid, gid = pposix.getuid(), pposix.getgid()
	local unwritable, reason
	local function try(directory)
		local writable, why = probe(directory)
		if not writable and not unwritable then unwritable, reason = directory, why end
	end
	try(data_directory)
	-- The folder may be fine while its content still belongs to the user of another image.
	for _, name in ipairs(drop_ins.list(data_directory)) do
		local path = data_directory .. "/" .. name
		local attributes = lfs.symlinkattributes(path)
		if attributes and attributes.mode == "directory" and attributes.uid ~= uid and name ~= "lost+found" then
			try(path)
		end
	end
	if not unwritable then return end
	local owner, owner_group = lfs.attributes(unwritable, "uid"), lfs.attributes(unwritable, "gid")
	stop(exit_status.data, ("%s cannot be written by uid %d, gid %d: %s\n"):format(unwritable, uid, gid, reason)
		.. ("If it is a folder of the host:  chown -R %d:%d FOLDER\n"):format(uid, gid)
		.. ("If it is a named volume:        docker run --rm -v VOLUME:/data busybox chown -R %d:%d /data\n"):format(uid, gid)
		.. ("Or run the container as the user that owns it:  --user %s"):format(
			owner and owner ~= 0 and ("%d:%d"):format(owner, owner_group) or "UID:GID"))
end

--- Runs a program of Prosody's in this process, as if it had been called with these arguments.
local function become(program, arguments)
	restore_libraries()
	arguments[0] = program
	_G.arg = arguments
	dofile(program)
end

--- libc looks for it in the environment only, and it may come from a file.
local function set_time_zone(values)
	if values.TZ then pposix.setenv("TZ", values.TZ) end
end

--- Adds what only shows when the files of conf.d are run. The server would stop at it in its own, longer way.
local function run_files(result)
	if #result.problems > 0 or not result.surroundings.has_drop_ins then return end
	local remarks, failure = require("container.report").load()
	if not remarks then table.insert(result.problems, failure) end
	-- The server's own is to know nothing of this.
	package.loaded["prosody.core.configmanager"] = nil
end

local function run_server(arguments)
	for _, argument in ipairs(arguments) do
		if argument == "-D" or argument == "--daemonize" then
			stop(exit_status.usage, "prosody " .. argument .. ": a container ends when its first program does, so the server"
				.. " must stay in the foreground")
		end
	end
	table.insert(arguments, 1, "-F")
	if os.getenv("PROSODY_CONFIG") ~= image_configuration then
		say(("the configuration is %s alone; variables are not looked at"):format(tostring(os.getenv("PROSODY_CONFIG"))))
		stop_at_unwritable_data()
		pposix.umask("027")
		return become("/usr/bin/prosody", arguments)
	end
	-- First of all, because where nothing can be written, nothing else works.
	stop_at_unwritable_data()
	local prepared, reason = require("container.runtime").prepare(pposix.umask)
	if not prepared then stop(exit_status.data, "no folder for what is made at the start: " .. reason) end
	local result = read_settings(true)
	for _, note in ipairs(result.notes) do say("note: " .. note) end
	for _, line in ipairs(result.lines) do say(line) end
	if result.is_unwritable then
		for _, problem in ipairs(result.problems) do say(problem) end
		stop(exit_status.data)
	end
	run_files(result)
	stop_at_problems(result)
	-- The server does not set it, whatever its option of that name says.
	pposix.umask(result.values.PROSODY_UMASK)
	require("container.lists").mend(data_directory, say)
	set_time_zone(result.values)
	become("/usr/bin/prosody", arguments)
end

--- Whether nobody can answer a question: without docker exec -i there is nothing to read, and Prosody's shell waits on.
local function is_mute()
	return require("lfs").attributes("/proc/self/fd/0", "mode") == "char device" and not pposix.isatty(io.stdin)
end

-- Commands that leave everything to the running server.
local asks_server = { shell = true, adduser = true, passwd = true, deluser = true }

--- A server goes on with what it has while its files are faulty, and must be within reach then.
local function use_shell_configuration(result)
	if #result.problems == 0 then return end
	for _, problem in ipairs(result.problems) do say(problem) end
	say("a running server goes on without this, but another start would fail")
	pposix.setenv("PROSODY_CONFIG", root .. "/shell.cfg.lua")
end

-- Commands that Prosody leaves to luarocks, and without it (and a shell) claims to have done.
local asks_luarocks = { install = true, remove = true, list = true }

local function stop_without_luarocks(command)
	for directory in (os.getenv("PATH") or ""):gmatch("[^:]+") do
		if require("lfs").attributes(directory .. "/luarocks", "mode") == "file" then return end
	end
	stop(exit_status.usage, ("prosodyctl %s needs luarocks, which is not in this image.\n"):format(command)
		.. "Put the folder of a module, mod_NAME with mod_NAME.lua in it, into /etc/prosody/modules and name it in\n"
		.. "PROSODY_ENABLE_MODULES; the command \"modules\" lists what is there.")
end

local function run_control(arguments)
	if asks_luarocks[arguments[1]] then stop_without_luarocks(arguments[1]) end
	-- Prosody's own status command wants a pid file; the health check answers the question better.
	if arguments[1] == "status" and #arguments == 1 then return dofile(root .. "/health.lua") end
	if (arguments[1] == "adduser" or arguments[1] == "passwd") and arguments[2] and is_mute() then
		stop(exit_status.usage, ("prosodyctl %s asks for the password: run it with docker exec -it, or write the password"
			.. " twice, a line each, to docker exec -i"):format(arguments[1]))
	end
	local umask = "027"
	if os.getenv("PROSODY_CONFIG") == image_configuration then
		local result = require("container.settings").read()
		if asks_server[arguments[1]] then
			run_files(result)
			use_shell_configuration(result)
		else
			stop_at_problems(result)
		end
		umask = result.values.PROSODY_UMASK or umask
		set_time_zone(result.values)
	end
	pposix.umask(umask)
	become("/usr/bin/prosodyctl", arguments)
end

--- What is told of the whole configuration by show, a function of what container/report.lua gathers.
local function report_settings(arguments, show)
	if #arguments > 0 then stop(exit_status.usage, usage) end
	local result = read_settings(false)
	show(require("container.report").gather(result, require "container.catalogue"), result)
	for _, note in ipairs(result.notes) do say("note: " .. note) end
	for _, problem in ipairs(result.problems) do say(problem) end
	stop(#result.problems > 0 and exit_status.configuration or 0)
end

local function check(arguments)
	report_settings(arguments, function(gathered, result)
		for _, line in ipairs(require("container.report").lines(gathered)) do print(line) end
		for _, line in ipairs(result.lines) do print("# " .. line) end
	end)
end

local function print_configuration(arguments)
	report_settings(arguments, function(gathered, result)
		-- Half a configuration would be taken for a whole one.
		if #result.problems == 0 then print(require("container.report").json(gathered)) end
	end)
end

local function list_modules(arguments)
	if #arguments > 0 then stop(exit_status.usage, usage) end
	local result = require("container.settings").read()
	for _, line in ipairs(require("container.module_list").lines(result.surroundings.plugin_paths)) do print(line) end
	stop(0)
end

local function migrate(arguments)
	stop_at_unwritable_data()
	run_control { "mod_container_migration", table.unpack(arguments) }
end

local commands = {
	prosody = run_server, prosodyctl = run_control, check = check, config = print_configuration, modules = list_modules;
	migrate = migrate;
}

local arguments = table.move(arg, 1, #arg, 1, {})
local command = table.remove(arguments, 1) or "prosody"
if command:find("^%-") and command ~= "--help" and command ~= "-h" then
	table.insert(arguments, 1, command)
	command = "prosody"
end
if not commands[command] then
	if command == "--help" or command == "-h" or command == "help" then
		print(usage)
		stop(0)
	end
	say("unknown command " .. require("container.types").printable(command))
	stop(exit_status.usage, usage)
end
drop_root()
commands[command](arguments)
