/** kv8 beside JavaCPP's CUDA preset ({@code org.bytedeco:cuda}), which is needed for this package only. */
@NullMarked
package dev.kv8.natives.cuda;

import org.jspecify.annotations.NullMarked;
