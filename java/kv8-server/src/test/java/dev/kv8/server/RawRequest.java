package dev.kv8.server;

import static java.nio.charset.StandardCharsets.ISO_8859_1;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.Socket;
import java.net.URI;

/** Bytes on a connection of their own, for what no HTTP client sends. */
final class RawRequest {
    private static final int READ_MILLIS = 20_000;

    private RawRequest() {}

    /** The status of the answer; -1 when the connection ends without one. */
    static int status(URI server, String request) throws IOException {
        try (Socket socket = open(server, request)) {
            String line = new BufferedReader(new InputStreamReader(socket.getInputStream(), ISO_8859_1)).readLine();
            return line == null ? -1 : Integer.parseInt(line.split(" ")[1]);
        }
    }

    /** A connection on which the request has been sent. */
    static Socket open(URI server, String request) throws IOException {
        Socket socket = new Socket(server.getHost(), server.getPort());
        socket.setSoTimeout(READ_MILLIS);
        socket.getOutputStream().write(request.getBytes(ISO_8859_1));
        socket.getOutputStream().flush();
        return socket;
    }

    static String post(String path, String json) {
        return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
                + json.getBytes(ISO_8859_1).length + "\r\n\r\n" + json;
    }
}
