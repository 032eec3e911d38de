package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.Fp8Format;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class CastTest extends CpuTest {
    private static final int COUNT = 100_003;
    private static final float SCALE = 0.37f;

    @ParameterizedTest
    @EnumSource(Fp8Format.class)
    void encodesFloat32AsJavaDoes(Fp8Format format) {
        long seed = 11;
        float[] x = Numbers.anyFloat(new Random(seed), COUNT);
        DeviceMemory codes = device.poisoned(COUNT);
        backend.cast(device.floats(x), DType.FLOAT32, codes, format.dtype(), COUNT, SCALE);

        byte[] got = device.readBytes(codes, COUNT);
        for (int i = 0; i < COUNT; i++) {
            assertThat(got[i])
                    .as("seed %d, element %d, %s of %s", seed, i, format, x[i])
                    .isEqualTo(format.encode(x[i] / SCALE));
        }
    }

    @ParameterizedTest
    @EnumSource(Fp8Format.class)
    void decodesEveryCodeAsJavaDoes(Fp8Format format) {
        byte[] codes = new byte[256];
        for (int code = 0; code < 256; code++) {
            codes[code] = (byte) code;
        }
        DeviceMemory values = device.poisoned(4 * 256);
        backend.cast(device.bytes(codes), format.dtype(), values, DType.FLOAT32, 256, SCALE);

        float[] got = device.readFloats(values, 256);
        for (int code = 0; code < 256; code++) {
            // floatToIntBits gives every NaN the canonical pattern, which the cast promises too.
            assertThat(Float.floatToRawIntBits(got[code]))
                    .as("%s of code %d", format, code)
                    .isEqualTo(Float.floatToIntBits(format.decode((byte) code) * SCALE));
        }
    }

    @ParameterizedTest
    @EnumSource(Fp8Format.class)
    void encodesEverySixteenBitPattern(Fp8Format format) {
        short[] patterns = new short[1 << 16];
        for (int i = 0; i < patterns.length; i++) {
            patterns[i] = (short) i;
        }
        DeviceMemory source = device.halves(patterns);
        DeviceMemory fromHalf = device.poisoned(patterns.length);
        DeviceMemory fromBfloat = device.poisoned(patterns.length);
        backend.cast(source, DType.FLOAT16, fromHalf, format.dtype(), patterns.length, 1);
        backend.cast(source, DType.BFLOAT16, fromBfloat, format.dtype(), patterns.length, 1);

        byte[] half = device.readBytes(fromHalf, patterns.length);
        byte[] bfloat = device.readBytes(fromBfloat, patterns.length);
        for (int i = 0; i < patterns.length; i++) {
            assertThat(half[i]).as("float16 pattern %x", i).isEqualTo(format.encode(Numbers.half(i)));
            assertThat(bfloat[i]).as("bfloat16 pattern %x", i).isEqualTo(format.encode(Numbers.bfloat(i)));
        }
    }

    @Test
    void narrowsToBfloat16() {
        long seed = 12;
        float[] x = Numbers.gaussian(new Random(seed), 1000);
        DeviceMemory out = device.poisoned(2000);
        backend.cast(device.floats(x), DType.FLOAT32, out, DType.BFLOAT16, 1000, 1);

        short[] got = device.readHalves(out, 1000);
        for (int i = 0; i < 1000; i++) {
            assertThat(got[i]).as("seed %d, element %d, %s", seed, i, x[i]).isEqualTo(Numbers.toBfloat(x[i]));
        }
    }
}
