-- What prosodyctl reads to find a running server while the real configuration is faulty: all its own defaults.

-- luacheck: globals certificates prosodyctl_service_warnings

certificates = "/var/lib/prosody"
prosodyctl_service_warnings = false
