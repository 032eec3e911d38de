package dev.kv8.natives;

import dev.kv8.Activation;
import dev.kv8.AmaxGranularity;
import dev.kv8.AttentionOptions;
import dev.kv8.AttentionPlan;
import dev.kv8.CacheView;
import dev.kv8.ChannelScales;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.LayerLayout;
import dev.kv8.RopeTable;
import dev.kv8.natives.abi.kv8;
import dev.kv8.natives.abi.kv8_device;
import dev.kv8.natives.abi.kv8_stream;
import java.lang.ref.Reference;
import org.jspecify.annotations.Nullable;

/**
 * The kernels of {@code kv8.h} on a stream of a device. Each fills its own struct in native memory and makes one native call;
 * nothing is allocated on the Java heap. The fences keep a view's struct alive until the call has read it.
 */
final class NativeBackend extends NativeDevice {
    private final NumericsArguments numericsArguments = new NumericsArguments(given);
    private final NumericsArguments.Cast cast = numericsArguments.new Cast();
    private final NumericsArguments.Amax amax = numericsArguments.new Amax();
    private final CacheArguments cacheArguments = new CacheArguments(given);
    private final CacheArguments.Write write = cacheArguments.new Write();
    private final CacheArguments.Gather gather = cacheArguments.new Gather();
    private final CacheArguments.MoveBlocks moveBlocks = cacheArguments.new MoveBlocks();
    private final AttentionArguments attentionArguments = new AttentionArguments(given);
    private final AttentionArguments.Plan plan = attentionArguments.new Plan();
    private final AttentionArguments.Attend attend = attentionArguments.new Attend();
    private final AttentionArguments.MergeStates mergeStates = attentionArguments.new MergeStates();
    private final EngineArguments engineArguments = new EngineArguments(given);
    private final EngineArguments.Matmul matmul = engineArguments.new Matmul();
    private final EngineArguments.RmsNorm rmsNorm = engineArguments.new RmsNorm();
    private final EngineArguments.Rope rope = engineArguments.new Rope();
    private final EngineArguments.GateMul gateMul = engineArguments.new GateMul();
    private final EngineArguments.Softcap softcap = engineArguments.new Softcap();
    private final EngineArguments.Embedding embedding = engineArguments.new Embedding();
    private final EngineArguments.Sample sample = engineArguments.new Sample();

    NativeBackend(OpenDevice device, @Nullable kv8_stream stream) {
        super(device, stream);
    }

    @Override
    public KvBackend onStream(long nativeStream) {
        return new NativeBackend(device, wrap(nativeStream));
    }

    // ---- numerics

    @Override
    public void cast(
            DeviceMemory source, DType sourceType, DeviceMemory target, DType targetType, long count, float scale) {
        synchronized (turn) {
            kv8_device handle = handle();
            cast.set(source, sourceType, target, targetType, count, scale);
            Status.check(kv8.kv8_cast(handle, stream, cast.struct));
        }
    }

    @Override
    public void amax(HeadRows x, int tokens, AmaxGranularity granularity, DeviceMemory out, boolean accumulate) {
        synchronized (turn) {
            kv8_device handle = handle();
            amax.set(x, tokens, granularity, out, accumulate);
            Status.check(kv8.kv8_amax(handle, stream, amax.struct));
        }
    }

    // ---- cache

    @Override
    public CacheView view(
            DeviceMemory pool, LayerLayout layout, @Nullable ChannelScales kScales, @Nullable ChannelScales vScales) {
        synchronized (turn) {
            handle();
            return new NativeCacheView(device, pool, layout, kScales, vScales);
        }
    }

    @Override
    public void write(
            CacheView view,
            HeadRows k,
            HeadRows v,
            int tokens,
            DeviceMemory slots,
            @Nullable RopeTable rope,
            @Nullable DeviceMemory positions,
            @Nullable DeviceMemory saturated) {
        synchronized (turn) {
            try {
                kv8_device handle = handle();
                write.set(own(view), k, v, tokens, slots, rope, positions, saturated);
                Status.check(kv8.kv8_write(handle, stream, write.struct));
            } finally {
                Reference.reachabilityFence(view);
            }
        }
    }

    @Override
    public void gather(CacheView view, HeadRows k, HeadRows v, int tokens, DeviceMemory slots) {
        synchronized (turn) {
            try {
                kv8_device handle = handle();
                gather.set(own(view), k, v, tokens, slots);
                Status.check(kv8.kv8_gather(handle, stream, gather.struct));
            } finally {
                Reference.reachabilityFence(view);
            }
        }
    }

    @Override
    public void moveBlocks(CacheView source, CacheView target, int count, DeviceMemory pairs) {
        synchronized (turn) {
            try {
                kv8_device handle = handle();
                moveBlocks.set(own(source), own(target), count, pairs);
                Status.check(kv8.kv8_move_blocks(handle, stream, moveBlocks.struct));
            } finally {
                Reference.reachabilityFence(source);
                Reference.reachabilityFence(target);
            }
        }
    }

    private NativeCacheView own(CacheView view) {
        if (view instanceof NativeCacheView made && made.device() == device) {
            return made;
        }
        throw new IllegalArgumentException(
                "The cache view was made by another backend; use one from this backend's view method.");
    }

    // ---- attention

    @Override
    public AttentionPlan attentionPlan(int queryHeads, int kvHeads, int headSize) {
        return attentionPlan(queryHeads, kvHeads, headSize, 0);
    }

    @Override
    public AttentionPlan attentionPlan(int queryHeads, int kvHeads, int headSize, int window) {
        synchronized (turn) {
            handle();
            return new NativeAttentionPlan(this, queryHeads, kvHeads, headSize, window);
        }
    }

    void plan(NativeAttentionPlan step, int sequences, DeviceMemory queryStartLoc, DeviceMemory seqLens) {
        synchronized (turn) {
            kv8_device handle = handle();
            plan.set(step, sequences, queryStartLoc, seqLens);
            Status.check(kv8.kv8_attention_plan(handle, stream, plan.struct));
            plan.setWorkspace(step.reserve(plan.struct.workspace_bytes()));
            Status.check(kv8.kv8_attention_plan(handle, stream, plan.struct));
        }
    }

    @Override
    public void attend(
            CacheView view,
            AttentionPlan plan,
            DeviceMemory blockTable,
            long blockTableStride,
            HeadRows q,
            HeadRows out,
            @Nullable DeviceMemory lse,
            AttentionOptions options) {
        synchronized (turn) {
            try {
                kv8_device handle = handle();
                attend.set(own(view), own(plan), blockTable, blockTableStride, q, out, lse, options);
                Status.check(kv8.kv8_attention(handle, stream, attend.struct));
            } finally {
                Reference.reachabilityFence(view);
            }
        }
    }

    private NativeAttentionPlan own(AttentionPlan plan) {
        if (plan instanceof NativeAttentionPlan made && made.device() == device) {
            return made;
        }
        throw new IllegalArgumentException(
                "The attention plan was made by another backend; use one from this backend's attentionPlan method.");
    }

    @Override
    public void mergeStates(
            HeadRows a,
            DeviceMemory lseA,
            HeadRows b,
            DeviceMemory lseB,
            HeadRows out,
            @Nullable DeviceMemory lse,
            int tokens) {
        synchronized (turn) {
            kv8_device handle = handle();
            mergeStates.set(a, lseA, b, lseB, out, lse, tokens);
            Status.check(kv8.kv8_merge_states(handle, stream, mergeStates.struct));
        }
    }

    // ---- what an engine needs beside

    @Override
    public void matmul(HeadRows x, DeviceMemory weights, @Nullable DeviceMemory bias, HeadRows y, int tokens) {
        matmulInOrder(x, weights, x.dtype(), bias, y, tokens, 0);
    }

    @Override
    public void matmulInOrder(
            HeadRows x,
            DeviceMemory weights,
            DType weightsType,
            @Nullable DeviceMemory bias,
            HeadRows y,
            int tokens,
            int sumLength) {
        synchronized (turn) {
            kv8_device handle = handle();
            matmul.set(x, weights, weightsType, bias, y, tokens, sumLength);
            Status.check(kv8.kv8_matmul(handle, stream, matmul.struct));
        }
    }

    @Override
    public void rmsNorm(
            HeadRows x,
            @Nullable HeadRows residual,
            DeviceMemory weight,
            DType weightType,
            float eps,
            HeadRows out,
            int tokens) {
        synchronized (turn) {
            kv8_device handle = handle();
            rmsNorm.set(x, residual, weight, weightType, eps, out, tokens);
            Status.check(kv8.kv8_rms_norm(handle, stream, rmsNorm.struct));
        }
    }

    @Override
    public void rope(HeadRows x, RopeTable table, DeviceMemory positions, int tokens) {
        synchronized (turn) {
            kv8_device handle = handle();
            rope.set(x, table, positions, tokens);
            Status.check(kv8.kv8_rope(handle, stream, rope.struct));
        }
    }

    @Override
    public void gateMul(Activation activation, HeadRows gate, HeadRows up, HeadRows out, int tokens) {
        synchronized (turn) {
            kv8_device handle = handle();
            gateMul.set(activation, gate, up, out, tokens);
            Status.check(kv8.kv8_gate_mul(handle, stream, gateMul.struct));
        }
    }

    @Override
    public void softcap(HeadRows x, int tokens, float cap) {
        synchronized (turn) {
            kv8_device handle = handle();
            softcap.set(x, tokens, cap);
            Status.check(kv8.kv8_softcap(handle, stream, softcap.struct));
        }
    }

    @Override
    public void embedding(
            DeviceMemory table,
            DType tableType,
            int vocabulary,
            DeviceMemory ids,
            HeadRows out,
            int tokens,
            float scale) {
        synchronized (turn) {
            kv8_device handle = handle();
            embedding.set(table, tableType, vocabulary, ids, out, tokens, scale);
            Status.check(kv8.kv8_embedding(handle, stream, embedding.struct));
        }
    }

    @Override
    public void sample(HeadRows logits, DeviceMemory sampling, DeviceMemory ids, int tokens) {
        synchronized (turn) {
            kv8_device handle = handle();
            sample.set(logits, sampling, ids, tokens);
            Status.check(kv8.kv8_sample(handle, stream, sample.struct));
        }
    }
}
