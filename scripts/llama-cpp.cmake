# Read by llama-cpp-python's CMake right after its project().

# A plain variable here wins over the cache entry that it forces to ON, and spares compiling
# llama.cpp's common library.
set(LLAMA_BUILD_COMMON OFF)

# libllama describes what ggml computes, for 150 architectures: it has no inner loop but the
# tokenizer's. Optimising it less saves a part of the time to compile; ggml stays as it is.
function(optimise_llama_less)
    if(NOT TARGET llama OR NOT CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
        return()
    endif()
    target_compile_options(llama PRIVATE -O1)
    get_target_property(source_directory llama SOURCE_DIR)
    set_source_files_properties(
        "${source_directory}/llama-vocab.cpp" "${source_directory}/unicode.cpp"
        TARGET_DIRECTORY llama
        PROPERTIES COMPILE_OPTIONS -O3
    )
endfunction()
# At the end of the directory, where the target is known.
cmake_language(DEFER CALL optimise_llama_less)
