# bench/*.c are small programs that print figures; they are built by `make bench`, never run as
# tests.
file(GLOB bench_support CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/bench/support/*.c")
add_library(bench_support STATIC EXCLUDE_FROM_ALL ${bench_support})
target_include_directories(bench_support PUBLIC "${CMAKE_SOURCE_DIR}/bench")
target_compile_options(bench_support PRIVATE ${WATTLAW_CFLAGS})
target_compile_definitions(bench_support PRIVATE _GNU_SOURCE)
target_link_libraries(bench_support PUBLIC wl_sampler wl_image wl_stats wl_os wl_base)
file(GLOB bench_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/bench/*.c")
foreach(source ${bench_sources})
  get_filename_component(name "${source}" NAME_WE)
  add_executable(bench_${name} EXCLUDE_FROM_ALL "${source}")
  target_compile_options(bench_${name} PRIVATE ${WATTLAW_CFLAGS})
  target_compile_definitions(bench_${name} PRIVATE _GNU_SOURCE)
  target_link_libraries(bench_${name} PRIVATE bench_support wl_measure wl_report wl_plan wl_eval wl_image wl_store wl_catalog wl_engine
    wl_sampler wl_meter wl_record wl_stats wl_series wl_os wl_base Threads::Threads)
  set_target_properties(bench_${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bench" OUTPUT_NAME ${name})
  list(APPEND bench_targets bench_${name})
endforeach()
add_custom_target(bench DEPENDS ${bench_targets})
