import java.io.PrintStream;
import java.lang.reflect.Field;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import org.apache.dubbo.common.utils.NetUtils;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.MethodConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.config.nested.TripleConfig;
import org.apache.dubbo.rpc.RpcContext;

/** Dubbo 3: `serve NAME dubbo|tri PORT …`, or a client that takes commands. */
public final class Peer {
  private static final int PAYLOAD = 16 << 20;
  private static final Map<String, Echo> REFERENCES = new HashMap<>();

  private Peer() {}

  public static void main(String[] arguments) throws Exception {
    PrintStream out = Commands.claimOutput();
    dialLoopback();
    ApplicationConfig application = new ApplicationConfig("peer");
    application.setQosEnable(false);
    DubboBootstrap bootstrap = DubboBootstrap.getInstance();
    bootstrap.application(application).registry(new RegistryConfig(RegistryConfig.NO_AVAILABLE));
    if (arguments.length > 0 && arguments[0].equals("serve")) {
      ServiceConfig<Echo> service = new ServiceConfig<>();
      service.setInterface(Echo.class);
      service.setVersion("1.0");
      service.setRef(new Provider(arguments[1]));
      for (int at = 2; at + 1 < arguments.length; at += 2) {
        ProtocolConfig protocol = new ProtocolConfig(arguments[at], Integer.parseInt(arguments[at + 1]));
        protocol.setId(arguments[at]);
        protocol.setHost("127.0.0.1");
        protocol.setPayload(PAYLOAD);
        protocol.setThreads(64);
        // A thousand calls at a time wait instead of being refused.
        protocol.setQueues(4_096);
        protocol.setTriple(triple());
        bootstrap.protocol(protocol);
      }
      bootstrap.service(service).start();
      Commands.ready(out);
      Thread.currentThread().join();
    }
    ProtocolConfig tri = new ProtocolConfig("tri");
    tri.setTriple(triple());
    bootstrap.protocol(tri).start();
    Commands.ready(out);
    Commands.serve(out, Peer::call);
  }

  /** Dubbo takes a loopback address for «this machine» and dials the machine's own; tests stay on loopback. */
  private static void dialLoopback() throws ReflectiveOperationException {
    Field own = NetUtils.class.getDeclaredField("HOST_ADDRESS");
    own.setAccessible(true);
    own.set(null, "127.0.0.1");
  }

  private static TripleConfig triple() {
    TripleConfig config = new TripleConfig();
    config.setMaxBodySize(PAYLOAD);
    config.setMaxResponseBodySize(PAYLOAD);
    return config;
  }

  private static Echo reference(String protocol, String at, String how, int timeout) {
    return REFERENCES.computeIfAbsent(protocol + " " + at + " " + how + " " + timeout, key -> {
      ReferenceConfig<Echo> config = new ReferenceConfig<>();
      config.setInterface(Echo.class);
      config.setVersion("1.0");
      config.setUrl(protocol + "://" + at + "/" + Echo.class.getName() + "?payload=" + PAYLOAD);
      config.setTimeout(timeout);
      config.setRetries(0);
      config.setCheck(false);
      config.setConnections(1);
      if (how.equals("oneway")) {
        MethodConfig note = new MethodConfig();
        note.setName("note");
        note.setReturn(false);
        config.setMethods(List.of(note));
      } else {
        config.setAsync(!how.equals("sync"));
      }
      return config.get();
    });
  }

  private static Future<String> call(Map<String, String> command, String text) {
    String how = command.getOrDefault("how", "sync");
    int timeout = Integer.parseInt(command.getOrDefault("timeout", "10000"));
    Echo echo = reference(command.getOrDefault("protocol", "dubbo"), command.get("at"), how, timeout);
    command.forEach((name, value) -> {
      if (name.startsWith("header.")) {
        RpcContext.getClientAttachment().setAttachment(name.substring("header.".length()), value);
      }
    });
    try {
      String value = Commands.invoke(echo, command.getOrDefault("method", "echo"), text);
      switch (how) {
        case "sync": return CompletableFuture.completedFuture(value);
        case "oneway": return CompletableFuture.completedFuture("sent");
        case "future": return RpcContext.getServiceContext().getCompletableFuture();
        default:
          CompletableFuture<String> answer = new CompletableFuture<>();
          RpcContext.getServiceContext().<String>getCompletableFuture().whenComplete((got, failure) -> {
            if (failure == null) {
              answer.complete(got);
            } else {
              answer.completeExceptionally(failure);
            }
          });
          return answer;
      }
    } finally {
      RpcContext.removeClientAttachment();
    }
  }
}
