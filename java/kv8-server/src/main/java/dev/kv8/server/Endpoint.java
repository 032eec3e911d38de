package dev.kv8.server;

/** Reads the body of one of the paths that write text. */
interface Endpoint {
    /**
     * Reads every field of a body.
     *
     * @throws ApiError naming what is not allowed
     */
    Call read(JsonFields body);
}
