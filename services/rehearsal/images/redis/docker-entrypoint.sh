#!/bin/sh
# The official image's entry point: arguments alone mean redis-server with them.
case "${1:-}" in -* | *.conf | '') set -- redis-server "$@" ;; esac
exec "$@"
