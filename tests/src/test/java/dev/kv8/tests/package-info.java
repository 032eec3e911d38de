/** Tests of kv8 as its users meet it: the command, the jars, the dependencies between packages. */
@NullMarked
package dev.kv8.tests;

import org.jspecify.annotations.NullMarked;
