package dev.kv8.natives;

import dev.kv8.AttentionOptions;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.natives.abi.kv8;
import dev.kv8.natives.abi.kv8_attention_args;
import dev.kv8.natives.abi.kv8_attention_plan_args;
import dev.kv8.natives.abi.kv8_merge_states_args;
import org.jspecify.annotations.Nullable;

/** The reused structs of attention: its plan, the call and {@code kv8_merge_states}; guarded by their backend. */
final class AttentionArguments {
    private final GivenMemory given;

    AttentionArguments(GivenMemory given) {
        this.given = given;
    }

    final class Plan {
        final kv8_attention_plan_args struct =
                new kv8_attention_plan_args(Struct.zeroed(kv8_attention_plan_args.class));
        private final SpanArgument queryStartLoc = new SpanArgument("queryStartLoc", struct.query_start_loc(), given);
        private final SpanArgument seqLens = new SpanArgument("seqLens", struct.seq_lens(), given);
        private final SpanArgument workspace = new SpanArgument("workspace", struct.workspace(), given);

        Plan() {
            struct.struct_size(struct.sizeof());
            struct.flags(kv8.KV8_PLAN_BATCH_INVARIANT);
        }

        /** With no workspace, so that the call answers how large it must be. */
        void set(NativeAttentionPlan plan, int sequences, DeviceMemory starts, DeviceMemory lengths) {
            struct.num_seqs(sequences);
            struct.q_heads(plan.queryHeads());
            struct.kv_heads(plan.kvHeads());
            struct.head_size(plan.headSize());
            struct.window(plan.window());
            queryStartLoc.set(starts);
            seqLens.set(lengths);
            workspace.set(0, 0);
        }

        void setWorkspace(DeviceMemory memory) {
            workspace.set(memory);
        }
    }

    final class Attend {
        final kv8_attention_args struct = new kv8_attention_args(Struct.zeroed(kv8_attention_args.class));
        private final SpanArgument plan = new SpanArgument("plan", struct.plan(), given);
        private final SpanArgument blockTable = new SpanArgument("blockTable", struct.block_table(), given);
        private final RowsArgument q = new RowsArgument("q", struct.q(), given);
        private final RowsArgument out = new RowsArgument("out", struct.out(), given);
        private final SpanArgument lse = new SpanArgument("lse", struct.lse(), given);
        private final SpanArgument sinks = new SpanArgument("sinks", struct.sinks(), given);
        private final SpanArgument alibiSlopes = new SpanArgument("alibiSlopes", struct.alibi_slopes(), given);

        Attend() {
            struct.struct_size(struct.sizeof());
        }

        void set(
                NativeCacheView view,
                NativeAttentionPlan schedule,
                DeviceMemory table,
                long tableStride,
                HeadRows queries,
                HeadRows result,
                @Nullable DeviceMemory logSumExp,
                AttentionOptions options) {
            schedule.requireFits(view.layout());
            struct.view(given.struct(view));
            plan.set(schedule.workspace());
            blockTable.set(table);
            struct.block_table_stride(tableStride);
            q.set(queries, schedule.queryHeads(), schedule.headSize());
            out.set(result, schedule.queryHeads(), schedule.headSize());
            lse.setOptional(logSumExp);
            struct.softmax_scale(options.softmaxScale());
            struct.window(options.window());
            struct.softcap(options.softcap());
            sinks.setOptional(options.sinks());
            alibiSlopes.setOptional(options.alibiSlopes());
        }
    }

    final class MergeStates {
        final kv8_merge_states_args struct = new kv8_merge_states_args(Struct.zeroed(kv8_merge_states_args.class));
        private final RowsArgument a = new RowsArgument("a", struct.a(), given);
        private final RowsArgument b = new RowsArgument("b", struct.b(), given);
        private final RowsArgument out = new RowsArgument("out", struct.out(), given);
        private final SpanArgument lseA = new SpanArgument("lseA", struct.lse_a(), given);
        private final SpanArgument lseB = new SpanArgument("lseB", struct.lse_b(), given);
        private final SpanArgument lse = new SpanArgument("lse", struct.lse(), given);

        MergeStates() {
            struct.struct_size(struct.sizeof());
        }

        void set(
                HeadRows first,
                DeviceMemory firstLse,
                HeadRows second,
                DeviceMemory secondLse,
                HeadRows result,
                @Nullable DeviceMemory resultLse,
                int tokens) {
            a.set(first);
            b.set(second, first.heads(), first.width());
            out.set(result, first.heads(), first.width());
            lseA.set(firstLse);
            lseB.set(secondLse);
            lse.setOptional(resultLse);
            struct.tokens(tokens);
            struct.heads(first.heads());
            struct.width(first.width());
        }
    }
}
