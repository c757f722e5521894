# wattlaw-gateway: what `wattlaw serve` starts. A program of its own because an HTTP server and client
# (with their TLS libraries) would cost every other command 10 MB.
wattlaw_module(gateway DEPS base os series stats record meter sampler store image eval plan catalog engine
  measure openai account LIBS PkgConfig::MICROHTTPD PkgConfig::UV PkgConfig::CURL_LINKED Threads::Threads)
target_compile_definitions(wl_gateway PRIVATE _GNU_SOURCE WATTLAW_VERSION="${PROJECT_VERSION}")
wattlaw_embed(gateway page.html GATEWAY_PAGE_HTML)

add_executable(wattlaw-gateway "${CMAKE_SOURCE_DIR}/src/gateway/main.c")
target_compile_options(wattlaw-gateway PRIVATE ${WATTLAW_CFLAGS})
target_link_options(wattlaw-gateway PRIVATE ${WATTLAW_LDFLAGS})
target_link_libraries(wattlaw-gateway PRIVATE wl_gateway wl_plan wl_store wl_record wl_meter wl_image
  wl_openai wl_account wl_os wl_base PkgConfig::UV)
set_target_properties(wattlaw-gateway PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
add_dependencies(wattlaw wattlaw-gateway)
# The llama-server that `serve` starts is found beside the program.
if(WATTLAW_ENGINE_PRIVATE)
  file(MAKE_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
  file(CREATE_LINK "${CMAKE_SOURCE_DIR}/.deps/bin/llama-server" "${CMAKE_BINARY_DIR}/bin/llama-server" SYMBOLIC)
endif()
install(TARGETS wattlaw-gateway RUNTIME DESTINATION "${CMAKE_INSTALL_LIBDIR}/wattlaw")
