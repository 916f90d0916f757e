# Read by llama-cpp-python's CMake right after its project(): a plain variable here wins over
# the cache entry that it forces to ON, and spares compiling llama.cpp's common library.
set(LLAMA_BUILD_COMMON OFF)
