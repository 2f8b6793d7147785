import com.alipay.remoting.BizContext;
import com.alipay.remoting.CustomSerializer;
import com.alipay.remoting.CustomSerializerManager;
import com.alipay.remoting.InvokeCallback;
import com.alipay.remoting.InvokeContext;
import com.alipay.remoting.exception.DeserializationException;
import com.alipay.remoting.rpc.RequestCommand;
import com.alipay.remoting.rpc.ResponseCommand;
import com.alipay.remoting.rpc.RpcClient;
import com.alipay.remoting.rpc.RpcServer;
import com.alipay.remoting.rpc.protocol.RpcRequestCommand;
import com.alipay.remoting.rpc.protocol.SyncUserProcessor;
import java.io.Serializable;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.Future;

/** Bolt's own API, in the versions 1 and 2, with checksums or without. */
final class Bolt {
  private static final String SERVICE = "Echo:1.0";

  private final RpcClient client = new RpcClient();

  Bolt() {
    CustomSerializerManager.registerCustomSerializer(Call.class.getName(), new Headers());
    client.startup();
  }

  static void serve(String name, String host, int port) {
    RpcServer server = new RpcServer(host, port);
    server.registerUserProcessor(new Processor(new Provider(name)));
    server.startup();
  }

  /** What is sent; its name is the frame's class. */
  public static final class Call implements Serializable {
    private static final long serialVersionUID = 1L;
    final String method;
    final String text;
    final transient Map<String, String> headers;

    Call(String method, String text, Map<String, String> headers) {
      this.method = method;
      this.text = text;
      this.headers = headers;
    }
  }

  Future<String> call(Map<String, String> command, String text) throws Exception {
    int timeout = Integer.parseInt(command.getOrDefault("timeout", "10000"));
    int version = Integer.parseInt(command.getOrDefault("version", "22"));
    // Protocol 2 has versions of its own: 1 without checksums, 2 with them when switched on.
    String address = command.get("at") + (version == 1 ? "" : "?_PROTOCOL=2&_VERSION=" + (version - 20));
    InvokeContext context = new InvokeContext();
    context.put(InvokeContext.BOLT_CRC_SWITCH, !"off".equals(command.get("crc")));
    Map<String, String> headers = new HashMap<>();
    command.forEach((name, value) -> {
      if (name.startsWith("header.")) {
        headers.put(name.substring("header.".length()), value);
      }
    });
    Call call = new Call(command.getOrDefault("method", "echo"), text, headers);
    switch (command.getOrDefault("how", "sync")) {
      case "sync": return CompletableFuture.completedFuture((String) client.invokeSync(address, call, context, timeout));
      case "oneway":
        client.oneway(address, call, context);
        return CompletableFuture.completedFuture("sent");
      case "future":
        return CompletableFuture.completedFuture(
            (String) client.invokeWithFuture(address, call, context, timeout).get());
      default:
        CompletableFuture<String> answer = new CompletableFuture<>();
        client.invokeWithCallback(address, call, context, new Answer(answer), timeout);
        return answer;
    }
  }

  private static final class Answer implements InvokeCallback {
    private final CompletableFuture<String> answer;

    Answer(CompletableFuture<String> answer) {
      this.answer = answer;
    }

    @Override
    public void onResponse(Object result) {
      answer.complete((String) result);
    }

    @Override
    public void onException(Throwable failure) {
      answer.completeExceptionally(failure);
    }

    @Override
    public Executor getExecutor() {
      return null;
    }
  }

  private static final class Processor extends SyncUserProcessor<Call> {
    private final Provider provider;

    Processor(Provider provider) {
      this.provider = provider;
    }

    @Override
    public Object handleRequest(BizContext context, Call call) {
      return Commands.invoke(provider, call.method, call.text);
    }

    @Override
    public String interest() {
      return Call.class.getName();
    }
  }

  /** Writes the header map that SOFARPC writes; the rest is Bolt's own. */
  private static final class Headers implements CustomSerializer {
    @Override
    public <T extends RequestCommand> boolean serializeHeader(T request, InvokeContext context) {
      Call call = (Call) ((RpcRequestCommand) request).getRequestObject();
      Map<String, String> map = new HashMap<>(call.headers);
      map.put("service", SERVICE);
      map.put("sofa_head_method_name", call.method);
      ByteBuffer buffer = ByteBuffer.allocate(4096);
      map.forEach((name, value) -> {
        put(buffer, name);
        put(buffer, value);
      });
      byte[] bytes = new byte[buffer.flip().limit()];
      buffer.get(bytes);
      request.setHeader(bytes);
      return true;
    }

    private static void put(ByteBuffer buffer, String text) {
      byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
      buffer.putInt(bytes.length).put(bytes);
    }

    @Override
    public <T extends ResponseCommand> boolean serializeHeader(T response) {
      return false;
    }

    @Override
    public <T extends RequestCommand> boolean deserializeHeader(T request) throws DeserializationException {
      return false;
    }

    @Override
    public <T extends ResponseCommand> boolean deserializeHeader(T response, InvokeContext context) {
      return false;
    }

    @Override
    public <T extends RequestCommand> boolean serializeContent(T request, InvokeContext context) {
      return false;
    }

    @Override
    public <T extends ResponseCommand> boolean serializeContent(T response) {
      return false;
    }

    @Override
    public <T extends RequestCommand> boolean deserializeContent(T request) {
      return false;
    }

    @Override
    public <T extends ResponseCommand> boolean deserializeContent(T response, InvokeContext context) {
      return false;
    }
  }
}
