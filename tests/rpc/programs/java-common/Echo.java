/** The service of every peer: one string in, one out. */
public interface Echo {
  String echo(String text);

  /** Which provider answers. */
  String who(String text);

  /** Keeps the text; worth calling one way. */
  String note(String text);

  /** What was kept, in order, and forgets it. */
  String noted(String text);

  /** Throws. */
  String fail(String text);

  /** Answers after so many milliseconds. */
  String nap(String milliseconds);
}
