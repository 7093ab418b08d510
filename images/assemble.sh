#!/bin/sh
# Packages -> root file system, one tree per image layer. Runs inside the build, under busybox, without network.
#
# Reads  /packages/<layer>/*.deb, /rootfs and /image.conf (calls of the functions below, one declaration a line);
# writes /layers/<layer>.<epoch>/. Nothing in the result depends on anything else: not on the clock, the umask, the
# order of directory entries, or on how the files of this repository came to the machine.
set -eu
umask 022
export LC_ALL=C

layers=/layers
mkdir -p "$layers/configuration"

# layer NAME: unpack the layer's packages, and record them where scanners look for packages of images without dpkg.
layer() {
    root=$layers/$1
    mkdir -p "$root/var/lib/dpkg/status.d"
    for package in "/packages/$1"/*.deb; do
        [ -f "$package" ] || continue
        dpkg-deb -x "$package" "$root"
        dpkg-deb -e "$package" /control
        name=$(sed -n 's/^Package: //p' /control/control)
        cp /control/control "$root/var/lib/dpkg/status.d/$name"
        if [ -f /control/md5sums ]; then
            cp /control/md5sums "$root/var/lib/dpkg/status.d/$name.md5sums"
        fi
        rm -r /control
    done
    merge_usr
    bundle_certificates
    # Manuals go, licences stay.
    if [ -d "$root/usr/share/doc" ]; then
        find "$root/usr/share/doc" -mindepth 2 ! -type d ! -name copyright -exec rm {} +
        find "$root/usr/share/doc" -depth -type d -empty -exec rmdir {} \;
    fi
}

# tarball LAYER FILE STRIP FOLDER PATTERNS: what matches, below FOLDER; of its files' names the first STRIP folders go.
tarball() {
    mkdir -p /tarball "$layers/$1$4"
    tar -xzf "/packages/$1/$2" -C /tarball
    depth=$3
    folder=/tarball
    while [ "$depth" -gt 0 ]; do
        folder="$folder/*"
        depth=$((depth - 1))
    done
    for pattern in $5; do
        # Unquoted on purpose: the patterns are to be expanded.
        # shellcheck disable=SC2086
        for path in $folder/$pattern; do
            inner=${path#/tarball}
            depth=$3
            while [ "$depth" -gt 0 ]; do
                inner=/${inner#/*/}
                depth=$((depth - 1))
            done
            mkdir -p "$layers/$1$4${inner%/*}"
            cp -R "$path" "$layers/$1$4${inner%/*}/"
        done
    done
    rm -r /tarball
    find "$layers/$1$4" -type d -exec chmod 0755 {} +
    find "$layers/$1$4" -type f -exec chmod 0644 {} +
}

# A package that still ships files in /lib would hide the link of that name in a lower layer.
merge_usr() {
    for folder in bin lib lib64 sbin; do
        if [ -d "$root/$folder" ] && [ ! -L "$root/$folder" ]; then
            mkdir -p "$root/usr/$folder"
            cp -a "$root/$folder/." "$root/usr/$folder/"
            rm -r "${root:?}/$folder"
        fi
    done
}

# What update-ca-certificates would do: all certificates in one file, which OpenSSL and Prosody read.
bundle_certificates() {
    if [ -d "$root/usr/share/ca-certificates" ]; then
        mkdir -p "$root/etc/ssl/certs"
        cat "$root"/usr/share/ca-certificates/mozilla/*.crt > "$root/etc/ssl/certs/ca-certificates.crt"
        rm -r "$root/usr/share/ca-certificates"
    fi
}

# remove PATTERN: take matching paths out of every layer that has been unpacked.
remove() {
    for root in "$layers"/*; do
        # Unquoted on purpose: the pattern is to be expanded.
        # shellcheck disable=SC2086
        rm -rf "${root:?}"$1
    done
}

# icu PATTERNS: keep only the items of ICU's data whose names match, in the one file that has the data.
icu() {
    trimmed=
    for file in "$layers"/*/usr/lib/*/libicudata.so.*.* "$layers"/*/usr/share/icu/*/icudt*.dat; do
        if [ -f "$file" ] && [ ! -L "$file" ]; then
            # The table of contents and all names are within the first 256 KiB.
            od -An -v -tu1 -N 262144 "$file" | awk -v keep="$1" -v size="$(stat -c %s "$file")" -f /icu.awk > /icu.plan
            while read -r what first second; do
                case $what in
                    bytes) printf '%b' "$first" ;;
                    copy) tail -c "+$((first + 1))" "$file" | head -c "$second" ;;
                    zeros) head -c "$first" /dev/zero ;;
                esac
            done < /icu.plan > /icu.new
            cat /icu.new > "$file"
            trimmed=$file
        fi
    done
    if [ -z "$trimmed" ]; then
        echo "icu: no file with ICU's data in any layer" >&2
        exit 1
    fi
}

# The declarations below belong to the topmost layer, `configuration`.

# directory MODE PATH
directory() {
    mkdir -p "$layers/configuration$2"
    chmod "$1" "$layers/configuration$2"
}

# link TARGET PATH
link() {
    mkdir -p "$layers/configuration${2%/*}"
    ln -sf "$1" "$layers/configuration$2"
}

# user NAME ID HOME: the account the container runs as; nobody can log in to any.
user() {
    mkdir -p "$layers/configuration/etc"
    cat > "$layers/configuration/etc/passwd" << EOF
root:x:0:0:root:/root:/usr/sbin/nologin
$1:x:$2:$2:$1:$3:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
EOF
    cat > "$layers/configuration/etc/group" << EOF
root:x:0:
$1:x:$2:
nogroup:x:65534:
EOF
}

# files: what the repository itself adds. Modes and owners are set, never copied; folders without files, which Git does
# not keep, are left out.
files() {
    find /rootfs -mindepth 1 -depth -type d -empty -exec rmdir {} \;
    cp -R /rootfs/. "$layers/configuration/"
    find "$layers/configuration" -type d -exec chmod 0755 {} +
    find "$layers/configuration" -type f -exec chmod 0644 {} +
    find "$layers/configuration" -type f -path '*/bin/*' -exec chmod 0755 {} +
}

# finish EPOCH: last of all.
finish() {
    # Snapshotters disagree about hard links, so there are none.
    find "$layers" -type f -links +1 | while IFS= read -r path; do
        cp -p "$path" "$path.unlinked"
        mv "$path.unlinked" "$path"
    done
    find "$layers" -type d -perm -2000 -exec chmod g-s {} +
    chown -R 0:0 "$layers"
    # BuildKit's cache knows what is copied by its name and content, not by its times, which another lock may change.
    for root in "$layers"/*; do
        mv "$root" "$root.$1"
    done
    find "$layers" -exec touch -h -d "@$1" {} +
}

# shellcheck source=/dev/null
. /image.conf
