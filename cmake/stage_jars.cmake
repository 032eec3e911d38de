# Lays the native jars out as they hold their files: a GPU plug-in each, and every jar's licence. A plug-in that was not built has
# no jar, and this says so.
# cmake -DDIST=<installed native build> -DPLATFORM=linux-x86_64 -DSTAGE=<folder> -DJNI=<folder of the JNI library>
#       -DNOTICES=<folder of LICENSE and NOTICE> -DJARS=<prefix of the jars> -P stage_jars.cmake
function(add_notices folder)
  foreach(file LICENSE NOTICE)
    file(MAKE_DIRECTORY ${folder}/META-INF)
    file(COPY_FILE ${NOTICES}/${file} ${folder}/META-INF/${file} ONLY_IF_DIFFERENT)
  endforeach()
endfunction()

add_notices(${JNI})
foreach(name cuda rocm)
  set(built ${DIST}/plugins/libkv8_${name}.so)
  set(classifier ${PLATFORM}-${name})
  if(EXISTS ${built})
    set(folder ${STAGE}/${name}/dev/kv8/natives/${classifier})
    file(MAKE_DIRECTORY ${folder})
    file(COPY_FILE ${built} ${folder}/libkv8_${name}.so ONLY_IF_DIFFERENT)
    add_notices(${STAGE}/${name})
  else()
    file(REMOVE_RECURSE ${STAGE}/${name})
    file(REMOVE ${JARS}-${classifier}.jar)
    message(STATUS "No jar ${classifier}: the plug-in was not built. CMake's configuration above says what it lacks; "
                   "-Dkv8.${name}=ON makes that an error.")
  endif()
endforeach()
