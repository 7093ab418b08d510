local confinement = require "container.confinement"
local expect = require "expect"

local no_bits = "0000000000000000"

--- /proc/self/status of a process, with changes: name → text
local function status(changes)
	local lines = { "Name:\tlua5.4" }
	for _, name in ipairs { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" } do
		lines[#lines + 1] = name .. ":\t" .. ((changes or {})[name] or no_bits)
	end
	lines[#lines + 1] = "NoNewPrivs:\t" .. ((changes or {}).NoNewPrivs or "1")
	return table.concat(lines, "\n") .. "\n"
end

local read_only = "overlay / overlay ro,relatime,lowerdir=/a 0 0\nproc /proc proc rw,nosuid 0 0\n"

return {
	{ "nothing is said of a container that can do what it needs", function()
		expect.equal(confinement.gaps(status(), read_only), {})
	end },
	{ "each thing that can be done beyond is said, with the way to prevent it", function()
		local function expect_gap(text, ...)
			local gaps = confinement.gaps(...)
			expect.equal(#gaps, 1)
			expect.contains(gaps[1], text)
		end
		for _, name in ipairs { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" } do
			expect_gap("--cap-drop ALL", status { [name] = "00000000a80425fb" }, read_only)
		end
		expect_gap("--security-opt no-new-privileges", status { NoNewPrivs = "0" }, read_only)
		expect_gap("--read-only", status(), (read_only:gsub(" ro,", " rw,")))
	end },
	{ "the uppermost mount of the root counts", function()
		expect.equal(#confinement.gaps(status(), "rootfs / rootfs rw 0 0\n" .. read_only), 0)
		expect.equal(#confinement.gaps(status(), read_only .. "tmpfs / tmpfs rw 0 0\n"), 1)
		expect.equal(#confinement.gaps(status(), "overlay / overlay rw,lowerdir=/a:ro,b 0 0\n"), 1)
	end },
	{ "what cannot be told counts as possible", function()
		expect.equal(#confinement.gaps("", ""), 3)
	end },
}
