// The reviews service in Java, one file: `java Reviews.java`. The same answers as its Python twin.
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Executors;

public class Reviews {
    public static void main(String[] arguments) throws Exception {
        String version = System.getenv().getOrDefault("VERSION", "v3");
        var address = new InetSocketAddress(System.getenv("HOST"), Integer.parseInt(System.getenv("PORT")));
        HttpServer server = HttpServer.create(address, 128);
        server.createContext("/", exchange -> {
            boolean probe = exchange.getRequestURI().getPath().equals("/healthz");
            String text = probe
                ? "\"ok\""
                : "{\"version\":\"" + version + "\",\"reviews\":[{\"item\":\"anchor\",\"stars\":5,\"by\":\"java\"}]}";
            byte[] body = text.getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("content-type", "application/json");
            exchange.sendResponseHeaders(200, body.length);
            try (var stream = exchange.getResponseBody()) {
                stream.write(body);
            }
        });
        server.setExecutor(Executors.newFixedThreadPool(4));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> server.stop(1)));
        server.start();
    }
}
