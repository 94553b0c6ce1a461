import java.io.PrintStream;
import java.io.Serializable;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.TextLineInputFormat;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.CloseableIterator;
import org.apache.flink.util.Collector;

/** The job with Flink's DataStream API in one process: {@code FlinkJob streaming|batch LOG REFERENCE PARALLELISM}. */
public final class FlinkJob {
    private FlinkJob() {}

    public static void main(String[] arguments) throws Exception {
        boolean batch = arguments[0].equals("batch");
        String log = arguments[1];
        Owners owners = Owners.read(Path.of(arguments[2]));
        int parallelism = Integer.parseInt(arguments[3]);

        StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(parallelism);
        environment.setRuntimeMode(batch ? RuntimeExecutionMode.BATCH : RuntimeExecutionMode.STREAMING);
        environment.getConfig().enableObjectReuse();

        // One file is read by one reader, in order; its lines are dealt out to the parsers.
        Path path = Path.of(log).toAbsolutePath();
        FileSource<String> source =
                FileSource.forRecordStreamFormat(
                                new TextLineInputFormat("ISO-8859-1"),
                                new org.apache.flink.core.fs.Path(path.toUri()))
                        .build();
        DataStream<String> lines =
                environment.fromSource(source, WatermarkStrategy.noWatermarks(), "log").setParallelism(1);
        // The generator's lines are up to 10 s out of order.
        WatermarkStrategy<Tuple2<Integer, Long>> disorder =
                WatermarkStrategy.<Tuple2<Integer, Long>>forBoundedOutOfOrderness(Duration.ofSeconds(10))
                        .withTimestampAssigner((request, unused) -> request.f1);
        DataStream<Row> rows =
                lines.flatMap(new Parse(owners))
                        .returns(Types.TUPLE(Types.INT, Types.LONG))
                        .assignTimestampsAndWatermarks(disorder)
                        .keyBy(request -> request.f0)
                        .window(TumblingEventTimeWindows.of(Duration.ofMinutes(5)))
                        .aggregate(new Count(), new Name());
        List<Row> all = new ArrayList<>();
        try (CloseableIterator<Row> iterator = rows.executeAndCollect()) {
            iterator.forEachRemaining(all::add);
        }
        write(all, owners);
    }

    private static void write(List<Row> rows, Owners owners) {
        List<String> text = new ArrayList<>();
        for (Row row : rows) {
            text.add(Instant.ofEpochMilli(row.start) + "," + owners.names.get(row.owner) + "," + row.count);
        }
        // Commas are below every character of a name but the space.
        text.sort((a, b) -> a.replace(',', '\0').compareTo(b.replace(',', '\0')));
        try (PrintStream out = new PrintStream(System.out, false)) {
            out.println("windowStart,applicationName,contact,responseCount");
            text.forEach(out::println);
        }
    }

    /** Requests of one owner in one window. */
    public static final class Row {
        public long start;
        public int owner;
        public long count;

        public Row() {}
    }

    /** Who owns which host: a number into the names, which are CSV; the first is nobody's. */
    private static final class Owners implements Serializable {
        private final Map<String, Integer> hosts = new HashMap<>();
        private final List<String> names = new ArrayList<>(List.of("Unknown,"));

        static Owners read(Path path) throws Exception {
            Owners owners = new Owners();
            Map<String, Integer> numbers = new HashMap<>();
            List<String> rows = Files.readAllLines(path);
            for (String row : rows.subList(1, rows.size())) {
                int comma = row.indexOf(',');
                String name = row.substring(comma + 1);
                if (!numbers.containsKey(name)) {
                    numbers.put(name, owners.names.size());
                    owners.names.add(name);
                }
                owners.hosts.put(row.substring(0, comma), numbers.get(name));
            }
            return owners;
        }
    }

    /** A valid line to its owner and time; by hand, which in Java is faster than a regular expression. */
    private static final class Parse implements FlatMapFunction<String, Tuple2<Integer, Long>> {
        private static final String MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec";
        private static final int STAMP = "[21/Nov/2026:04:35:00 +0000] \"".length();
        private static final int MINUTE = "[21/Nov/2026:04:35".length();

        private final Owners owners;
        private final Tuple2<Integer, Long> request = new Tuple2<>();
        private String knownMinute = "";
        private long knownTime;

        Parse(Owners owners) {
            this.owners = owners;
        }

        @Override
        public void flatMap(String line, Collector<Tuple2<Integer, Long>> out) {
            int host = line.indexOf(' ');
            int ident = line.indexOf(' ', host + 1);
            int user = line.indexOf(' ', ident + 1);
            int stamp = user + 1;
            if (host <= 0 || ident < 0 || user < 0 || !line.startsWith(" +0000] \"", stamp + MINUTE + 3)) {
                return;
            }
            int request = line.indexOf('"', stamp + STAMP);
            int referer = request < 0 ? -1 : sizes(line, request + 1);
            int gap = referer < 0 ? -1 : line.indexOf('"', referer);
            if (gap < 0 || !line.startsWith("\" \"", gap)) {
                return;
            }
            int agent = line.indexOf('"', gap + 3);
            if (agent != line.length() - 1 || agent < 0 || !minute(line, stamp)) {
                return;
            }
            this.request.f0 = owners.hosts.getOrDefault(line.substring(0, host), 0);
            this.request.f1 = knownTime;
            out.collect(this.request);
        }

        /** Where the text behind {@code ' 200 4711 "'} begins, or -1. */
        private static int sizes(String line, int at) {
            if (!line.startsWith(" ", at)) {
                return -1;
            }
            int status = line.indexOf(' ', at + 1);
            int size = status < 0 ? -1 : line.indexOf(' ', status + 1);
            boolean valid = size >= 0 && line.startsWith("\"", size + 1) && number(line, status + 1, size)
                    && number(line, at + 1, status) && (status == at + 4 || line.charAt(at + 1) == '-');
            return valid ? size + 2 : -1;
        }

        /** Digits only, or {@code -}. */
        private static boolean number(String line, int from, int to) {
            if (to == from + 1 && line.charAt(from) == '-') {
                return true;
            }
            for (int at = from; at < to; at++) {
                if (line.charAt(at) < '0' || line.charAt(at) > '9') {
                    return false;
                }
            }
            return to > from;
        }

        /** Takes the time of the minute that the stamp names; most lines are of the same as the line before. */
        private boolean minute(String line, int stamp) {
            if (!line.startsWith(knownMinute, stamp) || knownMinute.isEmpty()) {
                String text = line.substring(stamp, stamp + MINUTE);
                if (!text.matches("\\[\\d\\d/[A-Z][a-z][a-z]/\\d{4}:\\d\\d:\\d\\d")) {
                    return false;
                }
                int month = MONTHS.indexOf(text.substring(4, 7));
                try {
                    LocalDateTime time = LocalDateTime.of(Integer.parseInt(text.substring(8, 12)), month / 3 + 1,
                            Integer.parseInt(text.substring(1, 3)), Integer.parseInt(text.substring(13, 15)),
                            Integer.parseInt(text.substring(16, 18)));
                    knownTime = time.toInstant(ZoneOffset.UTC).toEpochMilli();
                } catch (DateTimeException error) {
                    return false;
                }
                knownMinute = text;
            }
            return number(line, stamp + MINUTE + 1, stamp + MINUTE + 3) && line.charAt(stamp + MINUTE) == ':';
        }
    }

    private static final class Count implements AggregateFunction<Tuple2<Integer, Long>, Long, Long> {
        @Override
        public Long createAccumulator() {
            return 0L;
        }

        @Override
        public Long add(Tuple2<Integer, Long> request, Long count) {
            return count + 1;
        }

        @Override
        public Long getResult(Long count) {
            return count;
        }

        @Override
        public Long merge(Long a, Long b) {
            return a + b;
        }
    }

    private static final class Name extends ProcessWindowFunction<Long, Row, Integer, TimeWindow> {
        @Override
        public void process(Integer owner, Context context, Iterable<Long> counts, Collector<Row> out) {
            Row row = new Row();
            row.start = context.window().getStart();
            row.owner = owner;
            row.count = counts.iterator().next();
            out.collect(row);
        }
    }
}
