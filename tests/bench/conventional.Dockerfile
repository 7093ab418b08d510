# The usual way to make the same image: apt in a base image, its programs emulated for other platforms.
FROM scratch AS base

FROM base
ARG DEBIAN_MIRROR
ARG DEBIAN_SECURITY_MIRROR
ARG PACKAGES
RUN printf 'deb %s trixie main\ndeb %s trixie-updates main\ndeb %s trixie-backports main\ndeb %s trixie-security main\n' \
        "$DEBIAN_MIRROR" "$DEBIAN_MIRROR" "$DEBIAN_MIRROR" "$DEBIAN_SECURITY_MIRROR" > /etc/apt/sources.list && \
    apt-get update && \
    apt-get install --yes --no-install-recommends $PACKAGES prosody/trixie-backports prosody-modules/trixie-backports && \
    rm -rf /var/lib/apt/lists/*
COPY images/rootfs/ /
USER prosody
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/bin/lua5.4", "/usr/local/lib/prosody-container/entrypoint.lua"]
