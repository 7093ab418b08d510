#!/bin/sh
# Packages of Alpine -> layers, and the database of packages that apk and scanners read. Read by assemble.sh, in variants
# of Alpine only.
#
# The formats are those of apk-v2(5) and apk-package(5), and of the database that apk itself writes: the fields of an
# index, then F: a folder, M: its owner and mode, R: a file in it, a: its owner and mode, Z: its SHA-1.
# shellcheck disable=SC2154 # `layers` is set by assemble.sh

# apk_layer NAME: unpack the layer's packages, and note for the database what is in them.
apk_layer() {
    mkdir -p "$layers/$1"
    for package in "/packages/$1"/*.apk; do
        [ -f "$package" ] || continue
        apk_split "$package"
        mkdir -p /apk/control /apk/data
        gunzip -c /apk/control.gz | tar -xof - -C /apk/control .PKGINFO
        gunzip -c /apk/data.gz | tar -xpof - -C /apk/data
        apk_refuse_cut "$package"
        # Everything is root's in the image, and nothing in it gives that away.
        find /apk/data \( -perm -4000 -o -perm -2000 \) ! -type l -exec chmod ug-s {} +
        apk_record "$package" >> /apk-installed
        cp -a /apk/data/. "$layers/$1/"
        rm -r /apk
    done
}

# apk_split FILE: its streams, as /apk/control.gz and /apk/data.gz.
apk_split() {
    mkdir -p /apk
    # shellcheck disable=SC2046 # two numbers
    set -- "$1" $(apk_streams "$1")
    if [ $# -ne 3 ]; then
        echo "$1 is not a package in the second format of apk" >&2
        exit 1
    fi
    # The signatures come first, if there are any. They were checked, by the hash of the whole file.
    if head -c "$2" "$1" | gunzip -c | tar -tf - | grep -q '^\.SIGN\.'; then
        tail -c "+$(($2 + 1))" "$1" | head -c "$(($3 - $2))" > /apk/control.gz
        tail -c "+$(($3 + 1))" "$1" > /apk/data.gz
    else
        head -c "$2" "$1" > /apk/control.gz
        tail -c "+$(($2 + 1))" "$1" > /apk/data.gz
    fi
}

# apk_streams FILE: where its second and its third gzip stream (RFC 1952) begin; if it has only two, where both end.
apk_streams() {
    size=$(stat -c %s "$1")
    # What comes before the files is small as a rule, so the search begins with little.
    window=0
    until [ "$window" -ge "$size" ]; do
        window=$((window * 8 + 8192))
        start=0
        ends=
        for place in $(od -An -v -tu1 -N "$window" "$1" | awk '
            { for (i = 1; i <= NF; i++) { n++; if (a == 31 && b == 139 && $i == 8 && n > 3) print n - 3; a = b; b = $i } }
        ') $([ "$window" -lt "$size" ] || echo "$size"); do
            # The bytes that begin a stream may also be within one: it ends where it can be unpacked whole.
            if tail -c "+$((start + 1))" "$1" | head -c "$((place - start))" | gunzip -t 2> /dev/null; then
                ends="$ends $place"
                start=$place
            fi
            if [ "$(echo "$ends" | wc -w)" -eq 2 ]; then
                echo "$ends"
                return
            fi
        done
    done
}

# apk_refuse_cut FILE: end the build if a name does not fit into a header of tar (100 bytes), where busybox cuts it.
apk_refuse_cut() {
    if { find /apk/data | sed 's|^/apk/data/||'; find /apk/data -type l -exec readlink {} \;; } | grep -E '.{100}'; then
        echo "$1 has a path of 100 bytes or more, which cannot be unpacked here" >&2
        exit 1
    fi
}

# apk_record FILE: the entry of the package in /apk for the database, as apk writes it.
apk_record() {
    # Everything that awk needs, each line with what it is.
    {
        sha1sum < /apk/control.gz | sed 's/^/identity /'
        stat -c 'size %s' "$1"
        sed -n 's/^\([a-z_]*\) = /info \1 /p' /apk/control/.PKGINFO
        cd /apk/data || exit
        find . -mindepth 1 -type d -exec stat -c 'folder %a %n' {} + | sort -k 3
        find . -type f -exec sha1sum {} + | sed 's/^/hash /'
        find . -type l | while IFS= read -r path; do
            printf 'hash %s  %s\n' "$(printf %s "$(readlink "$path")" | sha1sum | cut -d ' ' -f 1)" "$path"
        done
        find . -type f -exec stat -c 'file %a %n' {} + | sort -k 3
        find . -type l -exec stat -c 'file %a %n' {} + | sort -k 3
        cd / || exit
    } > /apk/facts
    awk '
        function base64(hex,   text, bits, i) {
            while (length(hex) > 0) {
                bits = 0
                for (i = 1; i <= 6; i++) bits = bits * 16 + (i > length(hex) ? 0 : index(digits, substr(hex, i, 1)) - 1)
                text = text substr(letters, int(bits / 262144) + 1, 1) substr(letters, int(bits / 4096) % 64 + 1, 1)
                text = text (length(hex) < 4 ? "=" : substr(letters, int(bits / 64) % 64 + 1, 1))
                text = text (length(hex) < 6 ? "=" : substr(letters, bits % 64 + 1, 1))
                hex = substr(hex, 7)
            }
            return text
        }
        # The rest of the line after its first words.
        function after(words,   text, i) {
            text = $0
            for (i = 0; i < words; i++) text = substr(text, index(text, " ") + 1)
            return text
        }
        function field(letter, name) { if (name in info) print letter ":" info[name] }
        BEGIN {
            digits = "0123456789abcdef"
            letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
            names[++count] = ""
        }
        $1 == "identity" { identity = $2 }
        $1 == "size" { size = $2 }
        $1 == "info" && !($2 in info) { info[$2] = after(2); next }
        $1 == "info" { info[$2] = info[$2] " " after(2) }
        $1 == "folder" { names[++count] = substr(after(2), 3); mode[names[count]] = $2 }
        $1 == "hash" { hash[substr($0, 8 + length($2))] = $2 }
        $1 == "file" {
            path = after(2)
            folder = name = substr(path, 3)
            if (!sub("/[^/]*$", "", folder)) folder = ""
            sub(".*/", "", name)
            files[folder] = files[folder] "R:" name "\n" ($2 == 644 ? "" : "a:0:0:" $2 "\n") "Z:Q1" base64(hash[path]) "\n"
        }
        END {
            print "C:Q1" base64(identity)
            field("P", "pkgname")
            field("V", "pkgver")
            field("A", "arch")
            print "S:" size
            field("I", "size")
            field("T", "pkgdesc")
            field("U", "url")
            field("L", "license")
            field("o", "origin")
            field("m", "maintainer")
            field("t", "builddate")
            field("c", "commit")
            field("k", "provider_priority")
            field("D", "depend")
            field("p", "provides")
            field("i", "install_if")
            field("r", "replaces")
            field("q", "replaces_priority")
            for (i = 1; i <= count; i++) {
                if (names[i] == "" && !("" in files)) continue
                print "F:" names[i]
                if (names[i] != "" && mode[names[i]] != 755) print "M:0:0:" mode[names[i]]
                printf "%s", files[names[i]]
            }
            print ""
        }
    ' /apk/facts
}

# apk_database WORLD REPOSITORIES: the database, in the topmost layer, because it is one file for packages of all layers.
apk_database() {
    folder=lib
    for root in "$layers"/*; do
        # Where /lib is a link, a folder of that name would hide it.
        if [ -L "$root/lib" ]; then folder=usr/lib; fi
    done
    mkdir -p "$layers/configuration/$folder/apk/db" "$layers/configuration/etc/apk"
    database=$layers/configuration/$folder/apk/db
    cp /apk-installed "$database/installed"
    # Scripts never run here. An empty archive says that there are none.
    head -c 1024 /dev/zero > "$database/scripts.tar"
    : > "$database/triggers"
    settings=$layers/configuration/etc/apk
    for name in $1; do echo "$name"; done | sort > "$settings/world"
    for url in $2; do echo "$url"; done > "$settings/repositories"
    sed -n 's/^A://p' /apk-installed | grep -v '^noarch$' | sort -u > "$settings/arch"
}
