#!/bin/sh
# Runs the llama-server beside this file with its own loader and libraries.
dir=$(dirname "$(readlink -f "$0")")
exec "$dir/backends/llama-server" --argv0 llama-server --library-path "$dir" "$dir/llama-server.bin" "$@"
