package dev.kv8.cli;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;

/** Texts beside each other, wrapped at words; a line break of a text stays one. */
final class TextColumns {
    private static final String GAP = "    ";

    private TextColumns() {}

    static void print(PrintWriter out, int totalWidth, List<String> texts) {
        int width = (totalWidth - GAP.length() * (texts.size() - 1)) / texts.size();
        List<List<String>> columns =
                texts.stream().map(text -> wrap(text, width)).toList();
        int rows = columns.stream().mapToInt(List::size).max().orElse(0);
        for (int row = 0; row < rows; row++) {
            StringBuilder line = new StringBuilder();
            for (int i = 0; i < columns.size(); i++) {
                String cell = row < columns.get(i).size() ? columns.get(i).get(row) : "";
                line.append(i == 0 ? "" : GAP).append(cell).append(" ".repeat(width - cell.length()));
            }
            out.println(line.toString().stripTrailing());
        }
    }

    private static List<String> wrap(String text, int width) {
        List<String> lines = new ArrayList<>();
        for (String paragraph : text.strip().split("\\R", -1)) {
            StringBuilder line = new StringBuilder();
            for (String word : paragraph.strip().split("\\s+")) {
                String rest = word;
                if (!line.isEmpty() && line.length() + 1 + rest.length() > width) {
                    lines.add(line.toString());
                    line.setLength(0);
                }
                while (rest.length() > width) {
                    lines.add(rest.substring(0, width));
                    rest = rest.substring(width);
                }
                line.append(line.isEmpty() ? "" : " ").append(rest);
            }
            lines.add(line.toString());
        }
        return lines;
    }
}
