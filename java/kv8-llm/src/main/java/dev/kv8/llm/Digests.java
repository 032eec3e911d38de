package dev.kv8.llm;

import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** The digest that names data and models. */
final class Digests {
    private Digests() {}

    static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("Every Java platform has SHA-256.", e);
        }
    }
}
