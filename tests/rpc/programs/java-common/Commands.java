import com.sun.net.httpserver.HttpServer;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Carries out the test's commands: a query string a line in, one a line out. */
public final class Commands {
  /** One call in one of the ways that the peer knows; of a one-way call, nothing comes. */
  public interface Caller {
    Future<String> call(Map<String, String> command, String text) throws Exception;
  }

  private static final long PATIENCE_S = 60;

  private Commands() {}

  /** Frameworks print to the standard output: it becomes the error output, and commands have the real one. */
  public static PrintStream claimOutput() {
    PrintStream out = System.out;
    System.setOut(System.err);
    return out;
  }

  public static void ready(PrintStream out) {
    out.println("ready");
    out.flush();
  }

  /** A call by its method's name. */
  public static String invoke(Echo echo, String method, String text) {
    switch (method) {
      case "echo": return echo.echo(text);
      case "who": return echo.who(text);
      case "note": return echo.note(text);
      case "noted": return echo.noted(text);
      case "fail": return echo.fail(text);
      case "nap": return echo.nap(text);
      default: throw new IllegalArgumentException(method);
    }
  }

  public static void serve(PrintStream out, Caller caller) throws IOException {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      out.println(answer(line, caller));
      out.flush();
    }
    // Frameworks keep threads that are no daemons.
    Runtime.getRuntime().halt(0);
  }

  /** The same commands over HTTP, as queries: for callers whose program a mesh starts. */
  public static void web(String host, int port, Caller caller) throws IOException {
    HttpServer server = HttpServer.create(new InetSocketAddress(host, port), 0);
    server.createContext("/", exchange -> {
      String query = exchange.getRequestURI().getRawQuery();
      byte[] body = (query == null ? "value=" : answer(query, caller)).getBytes(StandardCharsets.UTF_8);
      exchange.sendResponseHeaders(200, body.length);
      exchange.getResponseBody().write(body);
      exchange.close();
    });
    server.start();
  }

  private static String answer(String line, Caller caller) {
    try {
      return "value=" + encode(run(parse(line), caller));
    } catch (Throwable failure) {
      Throwable cause = failure;
      while (cause instanceof ExecutionException && cause.getCause() != null) {
        cause = cause.getCause();
      }
      return "error=" + encode(cause.getClass().getSimpleName())
          + "&message=" + encode(String.valueOf(cause.getMessage()));
    }
  }

  private static String run(Map<String, String> command, Caller caller) throws Exception {
    int size = Integer.parseInt(command.getOrDefault("size", "0"));
    String text = size > 0 ? "x".repeat(size) : command.getOrDefault("text", "");
    int count = Integer.parseInt(command.getOrDefault("count", "1"));
    if (count == 1) {
      String value = await(caller.call(command, text));
      return size > 0 ? (value.equals(text) ? "same " : "other ") + value.length() : value;
    }
    Map<String, Future<String>> calls = new HashMap<>();
    for (int call = 0; call < count; call++) {
      String own = text + call;
      calls.put(own, caller.call(command, own));
    }
    int right = 0;
    for (Map.Entry<String, Future<String>> call : calls.entrySet()) {
      right += await(call.getValue()).equals(call.getKey()) ? 1 : 0;
    }
    return String.valueOf(right);
  }

  private static String await(Future<String> call) throws Exception {
    try {
      return String.valueOf(call.get(PATIENCE_S, TimeUnit.SECONDS));
    } catch (TimeoutException never) {
      throw new IllegalStateException("no answer ever came", never);
    }
  }

  private static Map<String, String> parse(String line) {
    Map<String, String> command = new HashMap<>();
    for (String pair : line.split("&")) {
      int equals = pair.indexOf('=');
      command.put(decode(pair.substring(0, equals)), decode(pair.substring(equals + 1)));
    }
    return command;
  }

  private static String decode(String text) {
    return URLDecoder.decode(text, StandardCharsets.UTF_8);
  }

  private static String encode(String text) {
    return URLEncoder.encode(text, StandardCharsets.UTF_8);
  }
}
