# Every tests/unit/test_<module>_<thing>.c is one CTest test; so is every tests/cli/test_*.sh and
# tests/worker/test_*.{c,sh}. Exit code 77 means skipped, and the test has said why.
set(TEST_LIBS wl_sim wl_measure wl_report wl_plan wl_eval wl_account wl_openai wl_compress wl_image wl_store wl_catalog wl_engine wl_sampler wl_meter wl_record
  wl_stats wl_series wl_os wl_base PkgConfig::CMOCKA Threads::Threads m)
# Threads that spin while they wait for each other take ten times as long on a machine that is busy.
set(TEST_ENV
  "OMP_WAIT_POLICY=passive"
  "OPENBLAS_NUM_THREADS=1"
  "WATTLAW=${CMAKE_BINARY_DIR}/bin/wattlaw"
  "WATTLAW_ENGINE=${CMAKE_BINARY_DIR}/bin/wattlaw-engine"
  "WATTLAW_COMPRESSOR=${CMAKE_BINARY_DIR}/bin/wattlaw-compressor"
  "WATTLAW_FAKE_ENGINE=${CMAKE_BINARY_DIR}/bin/fake_engine"
  "WATTLAW_GATEWAY=${CMAKE_BINARY_DIR}/bin/wattlaw-gateway"
  "WATTLAW_FAKE_MODEL_SERVER=${CMAKE_BINARY_DIR}/bin/fake_model_server"
  "WATTLAW_SOAK=${CMAKE_BINARY_DIR}/bin/gateway_soak"
  "WATTLAW_SOURCE_DIR=${CMAKE_SOURCE_DIR}"
  "WATTLAW_BUILD_DIR=${CMAKE_BINARY_DIR}"
  "WATTLAW_TEST_MODELS=${CMAKE_SOURCE_DIR}/../shared/models"
  "WATTLAW_TEST_ROOTS=${CMAKE_SOURCE_DIR}/tests/roots")

# The simulator that stands in for machines and meters (tests/sim/plant.h).
file(GLOB sim_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tests/sim/*.c")
add_library(wl_sim STATIC ${sim_sources})
target_include_directories(wl_sim PUBLIC "${CMAKE_SOURCE_DIR}/tests")
target_compile_options(wl_sim PRIVATE ${WATTLAW_CFLAGS})
target_link_libraries(wl_sim PUBLIC wl_meter wl_record wl_series wl_os wl_base)

function(wattlaw_test_properties name)
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300
    ENVIRONMENT "${TEST_ENV}")
endfunction()

function(wattlaw_c_test source label)
  get_filename_component(name "${source}" NAME_WE)
  add_executable(${name} "${source}")
  target_compile_options(${name} PRIVATE ${WATTLAW_CFLAGS} -Wno-missing-prototypes)
  target_compile_definitions(${name} PRIVATE _GNU_SOURCE
    TEST_ROOTS_DIR="${CMAKE_SOURCE_DIR}/tests/roots" TEST_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${TEST_LIBS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  add_test(NAME ${name} COMMAND ${name})
  wattlaw_test_properties(${name})
  set_tests_properties(${name} PROPERTIES LABELS ${label})
endfunction()

add_executable(fake_engine "${CMAKE_SOURCE_DIR}/tests/fake_engine.c")
target_compile_options(fake_engine PRIVATE ${WATTLAW_CFLAGS})
target_link_libraries(fake_engine PRIVATE wl_engine wl_os wl_base)
set_target_properties(fake_engine PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")

# A model server that computes nothing, for tests and benchmarks of the gateway.
add_executable(fake_model_server "${CMAKE_SOURCE_DIR}/tests/fake_model_server.c")
target_compile_options(fake_model_server PRIVATE ${WATTLAW_CFLAGS})
target_link_libraries(fake_model_server PRIVATE wl_gateway wl_openai wl_os wl_base PkgConfig::UV)
set_target_properties(fake_model_server PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")

# Clients and faults against a gateway (tests/soak/soak.h).
file(GLOB soak_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tests/soak/*.c")
add_executable(gateway_soak ${soak_sources})
target_compile_options(gateway_soak PRIVATE ${WATTLAW_CFLAGS})
target_compile_definitions(gateway_soak PRIVATE _GNU_SOURCE)
target_link_libraries(gateway_soak PRIVATE wl_account wl_image wl_os wl_base PkgConfig::SQLITE3 m)
set_target_properties(gateway_soak PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")

file(GLOB unit_tests CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tests/unit/test_*.c")
foreach(source ${unit_tests})
  wattlaw_c_test("${source}" unit)
endforeach()
file(GLOB worker_tests CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tests/worker/test_*.c")
foreach(source ${worker_tests})
  wattlaw_c_test("${source}" worker)
endforeach()

file(GLOB gateway_tests CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tests/gateway/test_*.c")
foreach(source ${gateway_tests})
  wattlaw_c_test("${source}" gateway)
  get_filename_component(name "${source}" NAME_WE)
  target_link_libraries(${name} PRIVATE wl_gateway wl_account wl_openai)
endforeach()

file(GLOB api_tests CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tests/api/test_*.c")
foreach(source ${api_tests})
  wattlaw_c_test("${source}" unit)
  get_filename_component(name "${source}" NAME_WE)
  target_link_libraries(${name} PRIVATE wattlaw_api)
endforeach()

file(GLOB shell_tests CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tests/cli/test_*.sh"
     "${CMAKE_SOURCE_DIR}/tests/worker/test_*.sh" "${CMAKE_SOURCE_DIR}/tests/train/test_*.sh")
foreach(source ${shell_tests})
  get_filename_component(name "${source}" NAME_WE)
  add_test(NAME ${name} COMMAND bash "${source}")
  wattlaw_test_properties(${name})
  set_tests_properties(${name} PROPERTIES LABELS cli)
endforeach()

# Engine-side test programs: tests/worker sources that use llama.cpp itself, built as wattlaw-engine
# is (cmake/engine.cmake) and never sanitized.
function(wattlaw_engine_test_program name)
  list(TRANSFORM ARGN PREPEND "${CMAKE_SOURCE_DIR}/tests/worker/")
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE wl_engine_side)
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests" SKIP_BUILD_RPATH ON)
endfunction()

# The built-in models compute in llama.cpp what they computed in training.
wattlaw_engine_test_program(builtin_parity
  builtin_parity.c parity_compare.c parity_pair.c)
add_test(NAME test_builtin_parity COMMAND builtin_parity
  "${CMAKE_SOURCE_DIR}/models/builtin" "${CMAKE_SOURCE_DIR}/models/tasks")
wattlaw_test_properties(test_builtin_parity)
set_tests_properties(test_builtin_parity PROPERTIES LABELS worker)

# tests/compressor/test_*.c use llama.cpp, ggml and the compressor's own sources; plain programs
# (no cmocka in that sysroot), never sanitized: they print what failed and exit with 1.
file(GLOB compressor_tests CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tests/compressor/test_*.c")
foreach(source ${compressor_tests})
  get_filename_component(name "${source}" NAME_WE)
  add_executable(${name} "${source}")
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}/tests/compressor")
  target_link_libraries(${name} PRIVATE wl_compressor_side)
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests" SKIP_BUILD_RPATH ON)
  add_test(NAME ${name} COMMAND ${name})
  wattlaw_test_properties(${name})
  set_tests_properties(${name} PROPERTIES LABELS compressor)
endforeach()
