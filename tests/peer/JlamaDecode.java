import com.github.tjake.jlama.model.AbstractModel;
import com.github.tjake.jlama.model.ModelSupport;
import com.github.tjake.jlama.safetensors.DType;
import com.github.tjake.jlama.tensor.AbstractTensor;
import com.github.tjake.jlama.tensor.KvBufferCache;
import java.io.File;
import java.util.Arrays;
import java.util.Optional;
import java.util.SplittableRandom;

/**
 * What `kv8 bench decode` measures, by Jlama's public calls: a prompt of the same random tokens, then the likeliest token each.
 * Arguments: model folder, tokens of the prompt, tokens after the first, rounds. scripts/bench jlama runs it.
 */
public class JlamaDecode {
    public static void main(String[] args) {
        int promptTokens = Integer.parseInt(args[1]);
        int outputTokens = Integer.parseInt(args[2]);
        int rounds = Integer.parseInt(args[3]);
        double[] prompt = new double[rounds];
        double[] decode = new double[rounds];
        try (AbstractModel model = ModelSupport.loadModel(
                new File(args[0]),
                new File(System.getProperty("java.io.tmpdir")),
                DType.F32,
                DType.F32,
                Optional.empty(),
                Optional.of(Runtime.getRuntime().availableProcessors()))) {
            int[] tokens = new SplittableRandom(1)
                    .ints(promptTokens, 0, model.getConfig().vocabularySize)
                    .toArray();
            measure(model, tokens, outputTokens, new double[1], new double[1], 0); // compiles the code
            for (int round = 0; round < rounds; round++) {
                measure(model, tokens, outputTokens, prompt, decode, round);
            }
        }
        System.out.printf("Jlama, JDK %s; one text of %d + %d tokens; median and best of %d%n",
                Runtime.version().feature(), promptTokens, 1 + outputTokens, rounds);
        System.out.printf("prompt %.1f tokens/s, best %.1f; decode %.2f tokens/s, best %.2f%n",
                promptTokens / median(prompt), promptTokens / least(prompt),
                outputTokens / median(decode), outputTokens / least(decode));
        System.exit(0); // its threads are no daemons
    }

    private static void measure(
            AbstractModel model, int[] tokens, int outputTokens, double[] prompt, double[] decode, int round) {
        try (KvBufferCache caches = new KvBufferCache(model);
                KvBufferCache.KvBuffer cache = caches.getEphemeralKvBuffer()) {
            long start = System.nanoTime();
            AbstractTensor last = model.batchForward(tokens, 0, cache);
            int next = likeliest(model.getLogits(last.slice(last.shape().first() - 1)));
            last.close();
            long first = System.nanoTime();
            for (int i = 0; i < outputTokens; i++) {
                AbstractTensor output = model.forward(next, tokens.length + i, cache, Optional.empty());
                next = likeliest(model.getLogits(output));
                output.close();
            }
            prompt[round] = (first - start) * 1e-9;
            decode[round] = (System.nanoTime() - first) * 1e-9;
        }
    }

    private static int likeliest(float[] logits) {
        int best = 0;
        for (int i = 1; i < logits.length; i++) {
            if (logits[i] > logits[best]) {
                best = i;
            }
        }
        return best;
    }

    private static double median(double[] values) {
        double[] ascending = values.clone();
        Arrays.sort(ascending);
        return ascending[(values.length - 1) / 2];
    }

    private static double least(double[] values) {
        return Arrays.stream(values).min().orElseThrow();
    }
}
