# SPDX-License-Identifier: Apache-2.0
# The sources of the CUDA backend as the host compiler takes them, with the emulation in the place of a GPU.
set(src ${CMAKE_SOURCE_DIR}/src)
file(GLOB selvage_emulation_device CONFIGURE_DEPENDS ${src}/device/cuda/emulation/*.cpp)
file(GLOB selvage_emulation_kernels CONFIGURE_DEPENDS ${src}/kernels/cuda/*.cu ${src}/kernels/cuda/*.cpp)

# Properties of sources hold in one folder of CMake's, so this is called in each that compiles them.
function(selvage_emulated)
  list(FILTER ARGN INCLUDE REGEX "\\.cu$")
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS -Wno-unknown-pragmas)
endfunction()
