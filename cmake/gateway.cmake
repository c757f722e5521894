# wattlaw-gateway: what `wattlaw serve` starts. A program of its own because an HTTP server and client
# (with their TLS libraries) would cost every other command 10 MB.
wattlaw_module(gateway DEPS base os series record meter sampler store image eval plan catalog engine
  openai account LIBS PkgConfig::MICROHTTPD PkgConfig::UV PkgConfig::CURL_LINKED Threads::Threads)
target_compile_definitions(wl_gateway PRIVATE _GNU_SOURCE)
