package dev.kv8.llm;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;

/** The way of a calibration through its samples, a group at a time, with its state kept in between. */
final class CalibrationRun {
    private static final int SAMPLES_A_STATE = 16;
    private static final long NANOS_A_STATE = 60_000_000_000L;

    private final CalibrationTokens samples;
    private final CalibrationPass pass;
    private final LayerMagnitudes magnitudes;
    private final Optional<CalibrationState> state;
    private CalibrationState.Position position = new CalibrationState.Position(0, 0);
    private CalibrationState.Position kept = position;
    private long keptAt = System.nanoTime();

    CalibrationRun(
            CalibrationTokens samples,
            CalibrationPass pass,
            LayerMagnitudes magnitudes,
            Optional<CalibrationState> state) {
        this.samples = samples;
        this.pass = pass;
        this.magnitudes = magnitudes;
        this.state = state;
    }

    /** Goes on where the kept state ends, if there is one. */
    void resume() {
        state.flatMap(kept -> kept.load(magnitudes)).ifPresent(found -> {
            position = found;
            kept = found;
        });
    }

    /** Returns the number of tokens. */
    long run(Calibrator.Progress progress, BooleanSupplier cancelled) {
        progress.samplesDone(position.samples(), samples.samples(), position.tokens());
        while (position.samples() < samples.samples()) {
            if (cancelled.getAsBoolean()) {
                keep();
                throw new CancellationException("The calibration was stopped after " + position.samples() + " of "
                        + samples.samples() + " samples.");
            }
            nextGroup();
            keepInTime();
            progress.samplesDone(position.samples(), samples.samples(), position.tokens());
        }
        keep();
        return position.tokens();
    }

    private void nextGroup() {
        List<int[]> group = new ArrayList<>();
        int next = position.samples();
        long tokens = position.tokens();
        int padded = 0;
        while (next < samples.samples()) {
            int[] sample = samples.tokens(next);
            if (!pass.joins(padded, sample.length)) {
                break;
            }
            next++;
            tokens += sample.length;
            padded += CalibrationPass.padded(sample.length);
            if (sample.length > 0) {
                group.add(sample);
            }
        }
        pass.compute(group);
        position = new CalibrationState.Position(next, tokens);
    }

    private void keepInTime() {
        boolean enough = position.samples() / SAMPLES_A_STATE > kept.samples() / SAMPLES_A_STATE;
        if (enough || System.nanoTime() - keptAt > NANOS_A_STATE) {
            keep();
        }
    }

    private void keep() {
        if (position.equals(kept)) {
            return;
        }
        state.ifPresent(file -> file.save(position, magnitudes));
        kept = position;
        keptAt = System.nanoTime();
    }
}
