import java.io.PrintStream;

/**
 * SOFARPC and Bolt: `serve NAME sofa|bolt [HOST:]PORT … [registry URL]`, a client that takes commands, or `web HOST PORT`, one
 * that takes them over HTTP.
 */
public final class Peer {
  private Peer() {}

  public static void main(String[] arguments) throws Exception {
    PrintStream out = Commands.claimOutput();
    if (arguments.length > 0 && arguments[0].equals("web")) {
      Commands.web(arguments[1], Integer.parseInt(arguments[2]), Sofa::call);
      Commands.ready(out);
      Thread.currentThread().join();
    }
    if (arguments.length > 0) {
      serve(arguments);
      Commands.ready(out);
      Thread.currentThread().join();
    }
    Bolt bolt = new Bolt();
    Commands.ready(out);
    Commands.serve(out, (command, text) ->
        "bolt".equals(command.get("protocol")) ? bolt.call(command, text) : Sofa.call(command, text));
  }

  private static void serve(String[] arguments) {
    String registry = null;
    for (int at = 2; at + 1 < arguments.length; at += 2) {
      if (arguments[at].equals("registry")) {
        registry = arguments[at + 1];
      }
    }
    for (int at = 2; at + 1 < arguments.length; at += 2) {
      String[] address = arguments[at + 1].split(":");
      String host = address.length > 1 ? address[0] : "127.0.0.1";
      switch (arguments[at]) {
        case "sofa": Sofa.serve(arguments[1], host, Integer.parseInt(address[address.length - 1]), registry); break;
        case "bolt": Bolt.serve(arguments[1], host, Integer.parseInt(address[address.length - 1])); break;
        default:
      }
    }
  }
}
