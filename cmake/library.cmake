# libwattlaw: the public C library (include/wattlaw/wattlaw.h), one shared object with only the
# WATTLAW_API symbols visible, its header and its pkg-config file.
wattlaw_sources(api api_sources)
wattlaw_include_dir(api include_dir)
add_library(wattlaw_api SHARED ${api_sources})
target_include_directories(wattlaw_api PUBLIC "${CMAKE_SOURCE_DIR}/include" PRIVATE "${include_dir}")
target_compile_options(wattlaw_api PRIVATE ${WATTLAW_CFLAGS})
target_compile_definitions(wattlaw_api PRIVATE WATTLAW_VERSION="${PROJECT_VERSION}")
target_link_libraries(wattlaw_api PRIVATE wl_meter wl_record wl_stats wl_series wl_os wl_base)
if(NOT APPLE)
  target_link_options(wattlaw_api PRIVATE -Wl,--exclude-libs,ALL -Wl,-z,relro,-z,now)
endif()
set_target_properties(wattlaw_api PROPERTIES OUTPUT_NAME wattlaw VERSION ${PROJECT_VERSION}
  SOVERSION 0 LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
install(TARGETS wattlaw_api LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES "${CMAKE_SOURCE_DIR}/include/wattlaw/wattlaw.h"
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/wattlaw)

# Relative, so that `cmake --install --prefix ELSEWHERE` gives a file that is right there.
file(RELATIVE_PATH WATTLAW_PC_TO_PREFIX "/p/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/p")
configure_file("${CMAKE_SOURCE_DIR}/cmake/wattlaw.pc.in" "${CMAKE_BINARY_DIR}/wattlaw.pc" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/wattlaw.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
