import java.time.Duration;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** The Java client, to compare with: sends records until its standard input ends, then closes. */
public class Producer {
    public static void main(String[] args) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", args[0], "client.id", args[1],
            "key.serializer", StringSerializer.class, "value.serializer", StringSerializer.class);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(config)) {
            producer.send(new ProducerRecord<>("interop", "first")).get();
            System.out.println(producer.clientInstanceId(Duration.ofSeconds(30)));
            System.out.flush();
            while (System.in.available() == 0) {
                producer.send(new ProducerRecord<>("interop", "another"));
                Thread.sleep(20);
            }
        }
    }
}
