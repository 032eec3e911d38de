package dev.kv8.llm;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.KvScales;
import dev.kv8.llm.internal.JsonWriting;
import java.io.IOException;
import java.util.Locale;
import java.util.Set;

/** Writes {@link Calibration#report}. */
final class CalibrationReport {
    private final Calibration calibration;
    private final JsonGenerator json;

    private CalibrationReport(Calibration calibration, JsonGenerator json) {
        this.calibration = calibration;
        this.json = json;
    }

    static String of(Calibration calibration, CalibrationRules rules, KvScales scales, Set<Integer> skippedLayers) {
        String object = JsonWriting.indentedObject(
                json -> new CalibrationReport(calibration, json).write(rules, scales, skippedLayers));
        return object + "\n";
    }

    private void write(CalibrationRules rules, KvScales scales, Set<Integer> skippedLayers) throws IOException {
        CalibrationFacts facts = calibration.facts();
        json.writeStringField("data", facts.data());
        json.writeStringField("data_sha256", facts.dataSha256());
        json.writeNumberField("samples", facts.samples());
        json.writeNumberField("tokens", facts.tokens());
        json.writeNumberField("max_sample_length", facts.sampleLength());
        json.writeNumberField("seed", facts.seed());
        json.writeStringField("format", rules.format().name().toLowerCase(Locale.ROOT));
        json.writeStringField("k_observer", rules.k().toString());
        json.writeStringField("v_observer", rules.v().toString());
        json.writeNumberField("margin", rules.margin());
        json.writeArrayFieldStart("layers");
        for (int layer = 0; layer < scales.layers(); layer++) {
            json.writeStartObject();
            json.writeNumberField("layer", layer);
            boolean skipped = skippedLayers.contains(layer);
            json.writeBooleanField("skipped", skipped);
            KvScales.LayerScales own = scales.layer(layer);
            json.writeObjectFieldStart("k");
            range(calibration.kRange(layer));
            if (!skipped) {
                scales(own.k(), calibration.saturated(layer, KvSide.K, own.k()));
            }
            json.writeEndObject();
            json.writeObjectFieldStart("v");
            range(calibration.vRange(layer));
            if (!skipped) {
                scales(own.v(), calibration.saturated(layer, KvSide.V, own.v()));
            }
            json.writeEndObject();
            json.writeEndObject();
        }
        json.writeEndArray();
    }

    private void range(Calibration.Range range) throws IOException {
        json.writeNumberField("amax", range.amax());
        json.writeArrayFieldStart("head_amax");
        for (float amax : range.headAmax()) {
            json.writeNumber(amax);
        }
        json.writeEndArray();
        json.writeNumberField("percentile_99_9", range.percentile999());
        json.writeNumberField("zeros", range.zeros());
        json.writeNumberField("nans", range.nans());
    }

    private void scales(KvScales.Side scales, double saturated) throws IOException {
        float smallest = Float.POSITIVE_INFINITY;
        float largest = 0;
        for (float scale : scales.values()) {
            smallest = Math.min(smallest, scale);
            largest = Math.max(largest, scale);
        }
        json.writeStringField("granularity", scales.granularity().name().toLowerCase(Locale.ROOT));
        json.writeNumberField("smallest_scale", smallest);
        json.writeNumberField("largest_scale", largest);
        json.writeNumberField("saturated", saturated);
    }
}
