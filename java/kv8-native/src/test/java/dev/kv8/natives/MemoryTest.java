package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.DeviceMemory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Random;
import org.junit.jupiter.api.Test;

class MemoryTest extends CpuTest {

    @Test
    void countsWhatIsAllocatedAndFreed() {
        DeviceMemory device1 = backend.allocate(1 << 22);
        DeviceMemory host = backend.allocateHost(1 << 12);
        assertThat(backend.info().allocatedBytes()).isGreaterThanOrEqualTo((1 << 22) + (1 << 12));
        assertThat(device1.address() % (1 << 21)).isZero();
        assertThat(host.address() % 64).isZero();
        device1.close();
        device1.close();
        host.close();
        assertThat(backend.info().allocatedBytes()).isZero();
    }

    @Test
    void looksAtMemoryInNativeOrder() {
        DeviceMemory memory = backend.allocate(64);
        ByteBuffer view = backend.hostView(memory, 16, 32);
        assertThat(view.order()).isEqualTo(ByteOrder.nativeOrder());
        assertThat(view.remaining()).isEqualTo(32);
        assertThat(backend.hostView(memory, 64, 0).remaining()).isZero();
        view.putFloat(4, 2.5f);

        assertThat(device.readFloats(memory.slice(20, 4), 1)).containsExactly(2.5f);
    }

    @Test
    void copiesBuffersOfEveryKind() {
        byte[] bytes = new byte[3_000_000]; // more than one staging buffer
        new Random(31).nextBytes(bytes);
        ByteBuffer direct = ByteBuffer.allocateDirect(bytes.length).put(bytes).rewind();
        for (ByteBuffer source : new ByteBuffer[] {
            ByteBuffer.wrap(bytes), direct, ByteBuffer.wrap(bytes).asReadOnlyBuffer()
        }) {
            source.position(1000).limit(2_900_000);
            DeviceMemory memory = device.poisoned(bytes.length + 100);
            backend.upload(source, memory, 50);
            assertThat(source.position()).isEqualTo(1000);

            for (ByteBuffer target :
                    new ByteBuffer[] {ByteBuffer.allocate(bytes.length), ByteBuffer.allocateDirect(bytes.length)}) {
                target.position(1000).limit(2_900_000);
                backend.download(memory, 50, target);
                assertThat(target.position()).isEqualTo(1000);
                assertThat(target).isEqualTo(source);
                assertThat(target.get(999)).isZero();
                assertThat(target.clear().get(2_900_000)).isZero();
            }
            memory.close();
        }
    }

    @Test
    void copiesAndFills() {
        DeviceMemory source = device.bytes(new byte[] {1, 2, 3, 4});
        DeviceMemory target = device.poisoned(6);
        backend.copy(source, 1, target, 2, 3);
        backend.fill(target, 5, 1, (byte) 7);
        backend.synchronize();

        assertThat(device.readBytes(target, 6)).containsExactly(-1, -1, 2, 3, 4, 7);
    }

    @Test
    void refusesWhatIsOutside() {
        DeviceMemory memory = backend.allocate(8);
        ByteBuffer nine = ByteBuffer.allocate(9);
        assertThatThrownBy(() -> backend.upload(nine, memory, 0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("9 bytes at offset 0")
                .hasMessageContaining("8 bytes");
        assertThatThrownBy(() -> backend.download(memory, 4, ByteBuffer.allocate(5)))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> backend.hostView(memory, -1, 4)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> backend.copy(memory, 0, memory, 4, 5)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> backend.fill(memory, 0, Long.MAX_VALUE, (byte) 0))
                .isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() ->
                        backend.download(memory, 0, ByteBuffer.allocateDirect(8).asReadOnlyBuffer()))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("read-only");
    }

    @Test
    void refusesToAllocateNothingAndTooMuch() {
        assertThatThrownBy(() -> backend.allocate(0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("Memory of 0 bytes cannot be allocated; give at least 1.");
        assertThatThrownBy(() -> backend.allocateHost(-1)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> backend.allocate(1L << 60))
                .isInstanceOf(dev.kv8.DeviceException.class)
                .hasMessageContaining("bytes");
    }
}
