# Lays the GPU plug-ins out as their jars hold them; a plug-in that was not built has no jar, and this says so.
# cmake -DDIST=<installed native build> -DPLATFORM=linux-x86_64 -DSTAGE=<folder> -DJARS=<prefix of the jars> -P stage_plugins.cmake
foreach(name cuda rocm)
  set(built ${DIST}/plugins/libkv8_${name}.so)
  set(classifier ${PLATFORM}-${name})
  if(EXISTS ${built})
    set(folder ${STAGE}/${name}/dev/kv8/natives/${classifier})
    file(MAKE_DIRECTORY ${folder})
    file(COPY_FILE ${built} ${folder}/libkv8_${name}.so ONLY_IF_DIFFERENT)
  else()
    file(REMOVE_RECURSE ${STAGE}/${name})
    file(REMOVE ${JARS}-${classifier}.jar)
    message(STATUS "No jar ${classifier}: the plug-in was not built. CMake's configuration above says what it lacks; "
                   "-Dkv8.${name}=ON makes that an error.")
  endif()
endforeach()
