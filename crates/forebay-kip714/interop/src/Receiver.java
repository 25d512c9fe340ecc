import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.metrics.KafkaMetric;
import org.apache.kafka.common.metrics.MetricsReporter;
import org.apache.kafka.server.authorizer.AuthorizableRequestContext;
import org.apache.kafka.server.telemetry.ClientTelemetry;
import org.apache.kafka.server.telemetry.ClientTelemetryPayload;
import org.apache.kafka.server.telemetry.ClientTelemetryReceiver;

/**
 * Writes each payload that clients push to a file of its own, and the broker's own metrics about clients to another.
 *
 * A payload's name says all but its content: number, millis, client id, instance id, and T for the terminating one.
 * While there is a file named "fail", it throws instead.
 */
@SuppressWarnings("deprecation")
public class Receiver implements MetricsReporter, ClientTelemetry, ClientTelemetryReceiver {
    private final Path folder = Path.of(System.getProperty("forebay.folder"));
    private final AtomicInteger next = new AtomicInteger();
    private final Map<MetricName, KafkaMetric> metrics = new ConcurrentHashMap<>();
    private final ScheduledExecutorService writer = Executors.newSingleThreadScheduledExecutor(task -> {
        Thread thread = new Thread(task, "forebay-receiver");
        thread.setDaemon(true);
        return thread;
    });

    @Override
    public void configure(Map<String, ?> configs) {
        writer.scheduleWithFixedDelay(this::writeMetrics, 300, 300, TimeUnit.MILLISECONDS);
    }

    @Override
    public void init(List<KafkaMetric> known) {
        known.forEach(this::metricChange);
    }

    @Override
    public void metricChange(KafkaMetric metric) {
        if (metric.metricName().group().toLowerCase().replace("-", "").contains("clientmetrics")) {
            metrics.put(metric.metricName(), metric);
        }
    }

    @Override
    public void metricRemoval(KafkaMetric metric) {
        metrics.remove(metric.metricName());
    }

    @Override
    public void close() {
        writer.shutdownNow();
    }

    @Override
    public ClientTelemetryReceiver clientReceiver() {
        return this;
    }

    @Override
    public void exportMetrics(AuthorizableRequestContext context, ClientTelemetryPayload payload) {
        if (Files.exists(folder.resolve("fail"))) {
            throw new IllegalStateException("told to fail");
        }
        try {
            ByteBuffer data = payload.data().duplicate();
            byte[] bytes = new byte[data.remaining()];
            data.get(bytes);
            String name = String.format("%06d %d %s %s %s", next.getAndIncrement(), System.currentTimeMillis(),
                context.clientId(), payload.clientInstanceId(), payload.isTerminating() ? "T" : "N");
            write(folder.resolve(name + ".otlp"), bytes);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private void writeMetrics() {
        try {
            Map<String, Object> values = new TreeMap<>();
            metrics.forEach((name, metric) -> values.put(name.name() + " " + name.tags(), metric.metricValue()));
            StringBuilder text = new StringBuilder();
            values.forEach((name, value) -> text.append(name).append(" = ").append(value).append('\n'));
            write(folder.resolve("metrics.txt"), text.toString().getBytes());
        } catch (Exception error) {
            error.printStackTrace();
        }
    }

    /** Whole or not at all. */
    private void write(Path path, byte[] bytes) throws IOException {
        Path half = path.resolveSibling(path.getFileName() + ".half");
        Files.write(half, bytes);
        Files.move(half, path, StandardCopyOption.ATOMIC_MOVE);
    }
}
