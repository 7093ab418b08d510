# A minimal Debian as base image, the usual way: packages unpacked, then configured by their own scripts.
FROM scratch AS packages
FROM scratch AS tools

FROM --platform=$BUILDPLATFORM tools AS unpack
COPY --from=packages / /packages/
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox --install -s /bin && mkdir /system && for package in /packages/*/*.deb; do dpkg-deb -x $package /system; done && touch /system/var/lib/dpkg/status && cp /system/usr/share/base-passwd/passwd.master /system/etc/passwd && cp /system/usr/share/base-passwd/group.master /system/etc/group && ln -s mawk /system/usr/bin/awk"]

FROM scratch AS base
COPY --from=unpack /system/ /
ENV DEBIAN_FRONTEND=noninteractive
RUN --mount=from=packages,target=/packages dpkg --force-all --install /packages/*/*.deb
