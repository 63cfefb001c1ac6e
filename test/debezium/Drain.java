/*
 * Drain.java
 *		A stock Debezium connector in its embedded engine, whose records go to
 *		Kafka as a Kafka Connect worker would send them.
 *
 * Everything about the records is up to the connector's properties, those of
 * Kafka Connect: transforms, and the converters that make bytes of key, value
 * and headers.
 */
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;

import io.debezium.embedded.Connect;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.RecordChangeEvent;
import io.debezium.engine.format.ChangeEventFormat;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.connect.header.Header;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.storage.Converter;
import org.apache.kafka.connect.storage.HeaderConverter;

public final class Drain implements DebeziumEngine.ChangeConsumer<RecordChangeEvent<SourceRecord>> {
	private final Converter keyConverter;
	private final Converter valueConverter;
	private final HeaderConverter headerConverter;
	private final KafkaProducer<byte[], byte[]> producer;

	private Drain(Properties connector, Properties settings) throws ReflectiveOperationException {
		keyConverter = make(Converter.class, connector, "key.converter");
		keyConverter.configure(Map.of(), true);
		valueConverter = make(Converter.class, connector, "value.converter");
		valueConverter.configure(Map.of(), false);
		headerConverter = make(HeaderConverter.class, connector, "header.converter");
		headerConverter.configure(Map.of("converter.type", "header"));
		producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
	}

	private static <T> T make(Class<T> type, Properties properties, String name) throws ReflectiveOperationException {
		return type.cast(Class.forName(properties.getProperty(name)).getDeclaredConstructor().newInstance());
	}

	private ProducerRecord<byte[], byte[]> convert(SourceRecord record) {
		String topic = record.topic();
		RecordHeaders headers = new RecordHeaders();

		for (Header header : record.headers())
			headers.add(header.key(), headerConverter.fromConnectHeader(topic, header.key(), header.schema(), header.value()));
		return new ProducerRecord<>(topic, record.kafkaPartition(), record.timestamp(),
			keyConverter.fromConnectData(topic, headers, record.keySchema(), record.key()),
			valueConverter.fromConnectData(topic, headers, record.valueSchema(), record.value()), headers);
	}

	/* A batch is processed once the brokers have acknowledged all of it. */
	@Override
	public void handleBatch(List<RecordChangeEvent<SourceRecord>> events,
			DebeziumEngine.RecordCommitter<RecordChangeEvent<SourceRecord>> committer) throws InterruptedException {
		List<Future<?>> sent = new ArrayList<>(events.size());

		for (RecordChangeEvent<SourceRecord> event : events)
			sent.add(producer.send(convert(event.record())));
		producer.flush();
		try {
			for (Future<?> answer : sent)
				answer.get();
		} catch (ExecutionException e) {
			throw new IllegalStateException("Kafka did not take a record", e);
		}
		for (RecordChangeEvent<SourceRecord> event : events)
			committer.markProcessed(event);
		committer.markBatchFinished();
	}

	private static Properties read(String file) throws IOException {
		Properties properties = new Properties();

		try (var reader = Files.newBufferedReader(Path.of(file))) {
			properties.load(reader);
		}
		return properties;
	}

	public static void main(String[] args) throws Exception {
		Properties connector = read(args[0]);
		Drain drain = new Drain(connector, read(args[1]));
		DebeziumEngine<RecordChangeEvent<SourceRecord>> engine = DebeziumEngine.create(ChangeEventFormat.of(Connect.class))
			.using(connector)
			.using((success, message, error) -> System.out.println("ended: " + message + (error == null ? "" : ", " + error)))
			.notifying(drain)
			.build();

		Runtime.getRuntime().addShutdownHook(new Thread(() -> {
			try {
				engine.close();
			} catch (IOException e) {
				System.out.println("not closed: " + e);
			}
		}));
		engine.run();
	}
}
