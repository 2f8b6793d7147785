import com.alipay.sofa.rpc.config.ConsumerConfig;
import com.alipay.sofa.rpc.config.ProviderConfig;
import com.alipay.sofa.rpc.config.RegistryConfig;
import com.alipay.sofa.rpc.config.ServerConfig;
import com.alipay.sofa.rpc.context.RpcInvokeContext;
import com.alipay.sofa.rpc.core.exception.SofaRpcException;
import com.alipay.sofa.rpc.core.invoke.SofaResponseCallback;
import com.alipay.sofa.rpc.core.request.RequestBase;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;

/** SOFARPC over Bolt. */
final class Sofa {
  private static final String GROUP = "sofa.group";
  private static final Map<String, Echo> CONSUMERS = new HashMap<>();

  private Sofa() {}

  /** Offers the service, and publishes it where there is a registry. */
  static void serve(String name, String host, int port, String registry) {
    ServerConfig server = new ServerConfig().setProtocol("bolt").setHost(host).setPort(port).setDaemon(false)
        // A thousand calls at a time wait instead of being refused.
        .setQueues(4_096);
    ProviderConfig<Echo> provider = new ProviderConfig<Echo>()
        .setInterfaceId(Echo.class.getName())
        .setRef(new Provider(name))
        .setServer(server)
        .setRegister(registry != null);
    if (registry != null) {
      provider.setRegistry(mesh(registry));
    }
    told("GROUP").ifPresent(group -> provider.setParameter(GROUP, group));
    told("WEIGHT").ifPresent(weight -> provider.setParameter("weight", weight));
    provider.export();
  }

  private static Optional<String> told(String name) {
    return Optional.ofNullable(System.getenv(name));
  }

  private static RegistryConfig mesh(String address) {
    return new RegistryConfig().setProtocol("mesh").setAddress(address);
  }

  /** An address is `host:port` of a provider, or `mesh http://…` of a registry. */
  private static Echo consumer(String at, String how, int timeout) {
    return CONSUMERS.computeIfAbsent(at + " " + how + " " + timeout, key -> {
      ConsumerConfig<Echo> config = new ConsumerConfig<Echo>()
          .setInterfaceId(Echo.class.getName())
          .setProtocol("bolt")
          .setInvokeType(how)
          .setTimeout(timeout)
          .setRetries(0)
          .setConnectionNum(1)
          .setRepeatedReferLimit(-1)
          .setReconnectPeriod(1_000);
      told("GROUP").ifPresent(group -> config.setParameter(GROUP, group));
      if (at.startsWith("mesh ")) {
        config.setRegistry(mesh(at.substring("mesh ".length())));
      } else {
        config.setDirectUrl("bolt://" + at);
      }
      return config.refer();
    });
  }

  static Future<String> call(Map<String, String> command, String text) throws Exception {
    String how = command.getOrDefault("how", "sync");
    int timeout = Integer.parseInt(command.getOrDefault("timeout", "10000"));
    Echo echo = consumer(command.get("at"), how, timeout);
    RpcInvokeContext context = RpcInvokeContext.getContext();
    command.forEach((name, value) -> {
      if (name.startsWith("header.")) {
        context.putRequestBaggage(name.substring("header.".length()), value);
      }
    });
    CompletableFuture<String> answer = new CompletableFuture<>();
    if (how.equals("callback")) {
      context.setResponseCallback(new Answer(answer));
    }
    try {
      String value = Commands.invoke(echo, command.getOrDefault("method", "echo"), text);
      switch (how) {
        case "sync": return CompletableFuture.completedFuture(value);
        case "oneway": return CompletableFuture.completedFuture("sent");
        case "future": return context.getFuture();
        default: return answer;
      }
    } finally {
      RpcInvokeContext.removeContext();
    }
  }

  private static final class Answer implements SofaResponseCallback<Object> {
    private final CompletableFuture<String> answer;

    Answer(CompletableFuture<String> answer) {
      this.answer = answer;
    }

    @Override
    public void onAppResponse(Object value, String method, RequestBase request) {
      answer.complete((String) value);
    }

    @Override
    public void onAppException(Throwable failure, String method, RequestBase request) {
      answer.completeExceptionally(failure);
    }

    @Override
    public void onSofaException(SofaRpcException failure, String method, RequestBase request) {
      answer.completeExceptionally(failure);
    }
  }
}
