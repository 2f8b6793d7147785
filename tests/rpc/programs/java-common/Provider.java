import java.util.concurrent.ConcurrentLinkedQueue;

/** The service as a provider of a name offers it. */
public final class Provider implements Echo {
  private final String name;
  private final ConcurrentLinkedQueue<String> notes = new ConcurrentLinkedQueue<>();

  public Provider(String name) {
    this.name = name;
  }

  @Override
  public String echo(String text) {
    return text;
  }

  @Override
  public String who(String text) {
    return name;
  }

  @Override
  public String note(String text) {
    notes.add(text);
    return "noted";
  }

  @Override
  public String noted(String text) {
    String all = String.join(",", notes);
    notes.clear();
    return "noted:" + all;
  }

  @Override
  public String fail(String text) {
    throw new IllegalStateException(text);
  }

  @Override
  public String nap(String milliseconds) {
    try {
      Thread.sleep(Long.parseLong(milliseconds));
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
    return "slept";
  }
}
