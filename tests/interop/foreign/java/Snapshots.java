// java-control-plane's server, as subject of the tests' rules: it serves what it is told.
//
// It prints its address, then takes a line of JSON for each state that it shall have, {"cluster": {"a": "<base64>"}}, and
// answers each with a line once the state is in force. The same as `program/snapshots`, which is go-control-plane's.

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.Message;
import com.google.protobuf.Parser;
import io.envoyproxy.controlplane.cache.NodeGroup;
import io.envoyproxy.controlplane.cache.v3.SimpleCache;
import io.envoyproxy.controlplane.cache.v3.Snapshot;
import io.envoyproxy.controlplane.server.V3DiscoveryServer;
import io.envoyproxy.envoy.config.cluster.v3.Cluster;
import io.envoyproxy.envoy.config.core.v3.Node;
import io.envoyproxy.envoy.config.endpoint.v3.ClusterLoadAssignment;
import io.envoyproxy.envoy.config.listener.v3.Listener;
import io.envoyproxy.envoy.config.route.v3.RouteConfiguration;
import io.grpc.Server;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;

public class Snapshots {
  public static void main(String[] arguments) throws Exception {
    String group = arguments[0];
    SimpleCache<String> cache =
        new SimpleCache<>(
            new NodeGroup<String>() {
              @Override
              public String hash(Node node) {
                return node.getId();
              }
            });
    V3DiscoveryServer xds = new V3DiscoveryServer(cache);
    Server server =
        NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0))
            .addService(xds.getAggregatedDiscoveryServiceImpl())
            .addService(xds.getClusterDiscoveryServiceImpl())
            .addService(xds.getEndpointDiscoveryServiceImpl())
            .addService(xds.getListenerDiscoveryServiceImpl())
            .addService(xds.getRouteDiscoveryServiceImpl())
            .addService(xds.getSecretDiscoveryServiceImpl())
            .build()
            .start();
    System.out.println("127.0.0.1:" + server.getPort());
    BufferedReader lines =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      cache.setSnapshot(group, snapshotOf(JsonParser.parseString(line).getAsJsonObject()));
      System.out.println("in force");
    }
    server.shutdownNow();
  }

  private static Snapshot snapshotOf(JsonObject told) throws Exception {
    return Snapshot.create(
        read(told, "cluster", Cluster.parser()),
        version(told, "cluster"),
        read(told, "endpoint", ClusterLoadAssignment.parser()),
        version(told, "endpoint"),
        read(told, "listener", Listener.parser()),
        version(told, "listener"),
        read(told, "route", RouteConfiguration.parser()),
        version(told, "route"),
        List.of(),
        "none");
  }

  /** A kind's version is that of its contents. */
  private static String version(JsonObject told, String kind) {
    JsonElement found = told.get(kind);
    return found == null ? "empty" : Integer.toHexString(found.toString().hashCode());
  }

  private static <T extends Message> List<T> read(JsonObject told, String kind, Parser<T> parser)
      throws Exception {
    List<T> found = new ArrayList<>();
    JsonElement all = told.get(kind);
    if (all != null) {
      for (Map.Entry<String, JsonElement> each : all.getAsJsonObject().entrySet()) {
        found.add(parser.parseFrom(Base64.getDecoder().decode(each.getValue().getAsString())));
      }
    }
    return found;
  }
}
