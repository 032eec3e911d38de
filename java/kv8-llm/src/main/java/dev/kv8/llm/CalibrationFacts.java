package dev.kv8.llm;

/**
 * What a calibration was made from.
 *
 * @param data the data set's name
 * @param dataSha256 its digest, in hexadecimal
 * @param samples that went through the model; fewer than asked for where the data set has no more
 * @param tokens of them
 * @param sampleLength that longer samples were cut to
 * @param seed of the shuffle
 */
public record CalibrationFacts(String data, String dataSha256, int samples, long tokens, int sampleLength, long seed) {}
