# One folder of src/ = one static library that can include only what it declares.
#
#   wattlaw_module(<folder> [PURE] [DEPS <folder>...] [LIBS <target>...])
#
# A folder's headers are reachable as "<folder>/x.h" through an include directory of its own, which
# only declared dependants get: a wrong include does not compile. Link dependencies are private, so
# nothing is inherited by accident. PURE folders are listed for tools/check-layers, which refuses
# I/O, clocks and threads in them.
function(wattlaw_include_dir folder out)
  set(dir "${CMAKE_BINARY_DIR}/include/${folder}")
  file(MAKE_DIRECTORY "${dir}")
  if(NOT EXISTS "${dir}/${folder}")
    file(CREATE_LINK "${CMAKE_SOURCE_DIR}/src/${folder}" "${dir}/${folder}" SYMBOLIC)
  endif()
  set(${out} "${dir}" PARENT_SCOPE)
endfunction()

function(wattlaw_sources folder out)
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/src/${folder}/*.c")
  if(folder STREQUAL "os")
    file(GLOB system_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/src/os/${WATTLAW_OS}/*.c")
    list(APPEND sources ${system_sources})
  endif()
  set(${out} "${sources}" PARENT_SCOPE)
endfunction()

function(wattlaw_module folder)
  cmake_parse_arguments(M "PURE" "" "DEPS;LIBS" ${ARGN})
  wattlaw_sources(${folder} sources)
  list(FILTER sources EXCLUDE REGEX "/main\\.c$") # of a program; the rest is its library
  wattlaw_include_dir(${folder} include_dir)
  add_library(wl_${folder} STATIC ${sources})
  target_include_directories(wl_${folder} PUBLIC "${include_dir}")
  target_compile_options(wl_${folder} PRIVATE ${WATTLAW_CFLAGS})
  foreach(dep ${M_DEPS})
    target_link_libraries(wl_${folder} PRIVATE wl_${dep})
  endforeach()
  target_link_libraries(wl_${folder} PUBLIC ${M_LIBS})
  if(folder STREQUAL "os")
    target_compile_definitions(wl_os PRIVATE _GNU_SOURCE)
  endif()
  set_property(GLOBAL APPEND PROPERTY WATTLAW_MODULES ${folder})
  if(M_PURE)
    set_property(GLOBAL APPEND PROPERTY WATTLAW_PURE_MODULES ${folder})
  endif()
endfunction()

# Turns a text file of a module into `const char <symbol>[]`.
function(wattlaw_embed folder file symbol)
  set(out "${CMAKE_BINARY_DIR}/embed/${symbol}.c")
  add_custom_command(
    OUTPUT "${out}"
    COMMAND ${CMAKE_COMMAND} -DIN=${CMAKE_SOURCE_DIR}/src/${folder}/${file} -DOUT=${out}
            -DSYMBOL=${symbol} -P "${CMAKE_SOURCE_DIR}/cmake/embed.cmake"
    DEPENDS "${CMAKE_SOURCE_DIR}/src/${folder}/${file}" "${CMAKE_SOURCE_DIR}/cmake/embed.cmake"
    VERBATIM)
  target_sources(wl_${folder} PRIVATE "${out}")
endfunction()
