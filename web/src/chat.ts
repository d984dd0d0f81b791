// What happens: joins the server's frames, the HTTP calls, the browser's storage and the user's wishes to the state of
// the rooms. It knows nothing of the page; whoever shows it listens to `changed`.

import { Link } from "./link.ts";
import type { Phase } from "./connection.ts";
import { serverNow, steadyNow } from "./clock.ts";
import { newId, timeOf } from "./ids.ts";
import { Memory } from "./memory.ts";
import { Outbox, type Outgoing } from "./outbox.ts";
import { asksToCatchUp, mentions, type ChangeFrame, type ErrorFrame, type Message, type RoomInfo, type ServerFrame } from "./protocol.ts";
import { Room } from "./room.ts";
import * as server from "./server.ts";
import { Refusal, wordsOf } from "./server.ts";
import type { Stores } from "./storage.ts";

/** A page of history of the room that is looked at, and of one that only has a line in the list. */
const PAGE = 100;
const PREVIEW = 30;
/** Pages that are gone through in search of a message. */
const SEARCH_PAGES_MAX = 20;
/** Pages that are read again after an absence, by whoever reads further up. */
const MEND_PAGES_MAX = 20;
/** A sender's clock may be ahead of the server's by so much for its messages to be found by their ids. */
const FIND_BEFORE_MS = 500;
/** Pages that are loaded at once. */
const LOADS_MAX = 3;
/** Pages of rooms that one is in, and calls for single ones, at a time. */
const OWN_PAGES_MAX = 20;
const UNLISTED_MAX = 30;
const ROOMS_EVERY_MS = 30_000;
/** Longer than an answer may take. */
const SUMMED_UP_MS = 90_000;
/** The server passes `typing` on at most once in 2 s. */
const TYPING_EVERY_MS = 2_500;

/** `draft`: of a room nothing but an answer that grows. */
export type Change = "rooms" | "room" | "draft" | "phase" | "outbox" | "typing" | "people" | "gone";

export interface ChatEvents {
  /** Something is different; `room` where it concerns one. */
  changed(change: Change, room?: string): void;
  /** A message came in live, not from the past. */
  arrived(room: Room, message: Message): void;
  /** Somebody asks the user into a room. */
  invited(room: string, by: string): void;
  /** Something to tell the user in a line. */
  tell(text: string): void;
}

export class Chat {
  readonly rooms = new Map<string, Room>();
  readonly outbox: Outbox;
  readonly memory: Memory;
  current: Room | null = null;
  listed = false;
  /** The user may delete whatever anybody said. */
  isAdmin = false;
  /** The user has a password, which is asked for where much is at stake. */
  hasPassword = true;
  /** Accounts that are programs, as far as that was heard. */
  readonly programs = new Set<string>();
  /** The user may make links by which people come in who have no account yet. */
  mayInvite = false;
  #link: Link;
  #loads = 0;
  #loadQueue: Room[] = [];
  /** The rooms whose lines in the list are in view. */
  readonly #inView = new Set<string>();
  /** The call for the list that is under way. */
  #listing: Promise<void> | null = null;
  /** Something happened meanwhile that it may not have in it: it is asked for once more. */
  #again = false;
  /** Rooms that were changed from here since it was asked for: of those it may know less than this page does. */
  readonly #touched = new Set<string>();
  /** The name after which the list of rooms goes on; null: all of it is held. */
  #nextRooms: string | null = null;
  /** Somebody asked for more rooms until there were no more. */
  #wentToEnd = false;
  /** There was no line for a while: rooms may have come and gone unheard. */
  #wasLost = false;
  /** What was read, by room, and is to be told to the server. */
  readonly #toTell = new Map<string, number>();
  /** Rooms of which the bot is to sum up what was not read: until it has, or by `steadyNow` will not, nothing of it is told to be read. */
  readonly #summedUp = new Map<string, number>();
  /** Replies after which another was asked for, and that was not acked yet. */
  #wishes = new Map<string, Room>();
  #typedAt = new Map<string, number>();
  #outboxTimer: ReturnType<typeof setTimeout> | null = null;
  #timers: ReturnType<typeof setInterval>[] = [];

  constructor(
    readonly user: string,
    private readonly events: ChatEvents,
    stores: Stores,
  ) {
    this.outbox = new Outbox(stores.shared, user);
    this.memory = new Memory(stores, user);
    this.#link = new Link({
      frame: (frame) => this.#hear(frame),
      lost: () => this.#lost(),
      phase: () => this.events.changed("phase"),
      sessionGone: () => this.events.changed("gone"),
    });
    addEventListener("storage", this.#storageChanged);
    this.#timers.push(setInterval(() => document.hidden || void this.refreshRooms(), ROOMS_EVERY_MS));
    this.#timers.push(setInterval(() => this.#upkeep(), 1_000));
  }

  get phase(): Phase {
    return this.#link.phase;
  }

  start(): void {
    this.#link.start();
    void this.refreshRooms();
  }

  stop(): void {
    this.#tellRead();
    this.#link.stop();
    this.#again = false;
    removeEventListener("storage", this.#storageChanged);
    for (const timer of this.#timers) clearInterval(timer);
    if (this.#outboxTimer) clearTimeout(this.#outboxTimer);
  }

  /** Why there is no line, in words, where that is known. */
  get lineTrouble(): string | null {
    return this.#link.trouble;
  }

  tryNow(): void {
    this.#link.hurry();
  }

  // --- rooms ----------------------------------------------------------------------------------------------------

  /** Rooms that are the user's by right, or that the user went into. */
  isMine(room: Room): boolean {
    const { info } = room;
    if (info?.invited_by) return false;
    return room.name === this.user || !info || info.private || info.owner === this.user || this.memory.hasEntered(room.name);
  }

  /** Asks for the list; once more, if a call for it is under way that may have been answered already. */
  refreshRooms(): Promise<void> {
    if (this.#listing) this.#again = true;
    this.#listing ??= this.#list().finally(() => {
      this.#listing = null;
      if (!this.#again) return;
      this.#again = false;
      void this.refreshRooms();
    });
    return this.#listing;
  }

  async #list(): Promise<void> {
    this.#touched.clear();
    const infos: RoomInfo[] = [];
    let next: string | null = null;
    try {
      // The rooms that one is in come first; of all others a page is enough until somebody wants more.
      for (let pages = 0; pages === 0 || (next && pages < OWN_PAGES_MAX && this.#isIn(infos.at(-1))); pages += 1) {
        const page = await server.rooms(next);
        infos.push(...page.rooms);
        next = page.next ?? null;
      }
      infos.push(...(await this.#unlisted(infos, next)));
    } catch (error) {
      if ((error as Refusal).status === 401) this.events.changed("gone");
      return;
    }
    if (next === null || (this.#nextRooms === null && !this.#wentToEnd)) this.#nextRooms = next;
    const names = new Set([...infos.map((info) => info.name), ...this.#touched]);
    for (const info of infos) if (!this.#touched.has(info.name)) this.#listed(info);
    for (const [name, room] of this.rooms) {
      // Changed meanwhile, or further down in the list than was looked.
      if (names.has(name) || (next !== null && room.info && !this.#isIn(room.info))) continue;
      // The server took the subscription away with the membership.
      room.was ??= room.info;
      if (room.info) this.memory.leave(name);
      room.info = null;
      room.joined = false;
      if (room !== this.current && this.outbox.inRoom(name).length === 0) this.#forget(room);
    }
    const first = !this.listed;
    this.listed = true;
    this.memory.settle(first);
    // Opened by its address, and a public one: whoever looks into it is in it.
    const { current } = this;
    if (current?.info && !current.info.invited_by && !this.isMine(current)) this.memory.enter(current.name);
    for (const room of this.rooms.values()) if ((room === current && !room.trouble) || (room.info && this.isMine(room))) this.#enter(room);
    this.events.changed("rooms");
  }

  /** What the user is in by the server's own knowledge, and is listed before all others. */
  #isIn(info: RoomInfo | undefined): boolean {
    return info !== undefined && (info.private || info.owner === this.user || info.invited_by !== undefined);
  }

  /** Public rooms that are looked at, or were gone into, and stand further down in the list. */
  async #unlisted(infos: RoomInfo[], next: string | null): Promise<RoomInfo[]> {
    if (next === null) return [];
    const names = new Set(infos.map((info) => info.name));
    const wanted = [this.current?.name ?? this.user, ...this.memory.entered()].filter((name) => !names.has(name) && !this.rooms.get(name)?.info);
    const found = await Promise.all(wanted.slice(0, UNLISTED_MAX).map((name) => server.room(name).catch(() => null)));
    return found.filter((info) => info !== null);
  }

  /** The list goes on after what is held of it. */
  get hasMoreRooms(): boolean {
    return this.#nextRooms !== null;
  }

  async loadMoreRooms(): Promise<void> {
    try {
      const page = await server.rooms(this.#nextRooms);
      this.#nextRooms = page.next ?? null;
      this.#wentToEnd = this.#nextRooms === null;
      for (const info of page.rooms) this.#listed(info);
    } catch (error) {
      this.events.tell(wordsOf(error));
    }
    this.events.changed("rooms");
  }

  /** Rooms into which the user was invited, and has neither gone nor declined to go. */
  get invitations(): Room[] {
    return [...this.rooms.values()].filter((room) => room.info?.invited_by);
  }

  async takeInvitation(room: Room): Promise<void> {
    await server.addMember(room.name, this.user);
    this.#touched.add(room.name);
    if (room.info) room.info = { ...room.info, invited_by: undefined };
    room.trouble = null;
    this.#enter(room);
    this.events.changed("rooms");
  }

  async decline(room: Room): Promise<void> {
    await server.removeMember(room.name, this.user);
    this.#gone(room);
  }

  /** Everybody who was heard of, for suggestions. */
  knownPeople(): string[] {
    const names = new Set<string>();
    for (const room of this.rooms.values()) {
      if (room.info) names.add(room.info.owner);
      for (const name of room.people) names.add(name);
      for (const { kind, sender } of room.timeline.messages) if (kind === "user") names.add(sender);
    }
    names.delete(this.user);
    return [...names].sort();
  }

  /** All there is to know of a room: the list leaves some of it out. */
  async details(room: Room): Promise<void> {
    if (!room.info) return;
    try {
      // Always anew: its owner may have changed something meanwhile. What is not set is left out.
      const { read, unread, latest } = room.info;
      room.info = { persona: null, topic: "", ...{ read, unread, latest }, ...(await server.room(room.name)) };
    } catch (error) {
      if (room.info?.persona === undefined) throw error;
    }
  }

  /** A room that is there for the user, whether or not it was before. */
  #listed(info: RoomInfo): void {
    const room = this.#room(info.name);
    if (!room.info && room.was) {
      room.was = null;
      room.trouble = null;
    }
    // Who is in a room already need not be asked into it: it is about to become private, most likely.
    if (info.invited_by && this.memory.hasEntered(info.name)) {
      info = { ...info, invited_by: undefined };
      void server.addMember(info.name, this.user).catch(() => undefined);
    }
    // The list leaves the topic out.
    room.info = room.info?.topic === undefined ? info : { topic: room.info.topic, ...info };
    if (room === this.current) void this.#learnTopic(room);
    if (info.read === undefined) return;
    // Read in another browser: there somebody went into it, too.
    if (this.memory.isNewHere && !this.listed && info.read > 0) this.memory.enter(info.name);
    this.#readTo(room, info.read);
    if (room.readSeq > info.read) this.#toTell.set(room.name, room.readSeq);
  }

  /** What the room that is looked at is about, and who in it is a program. */
  async #learnTopic(room: Room): Promise<void> {
    if (!room.info || room.info.topic !== undefined || room.name === this.user) return;
    const [known, programs] = await Promise.all([server.room(room.name).catch(() => null), server.programs(room.name).catch(() => [])]);
    this.heardOfPrograms(programs, room);
    if (!known || !room.info) return;
    room.info = { ...room.info, topic: known.topic ?? "" };
    this.events.changed("people", room.name);
  }

  heardOfPrograms(names: string[], room: Room): void {
    const before = this.programs.size;
    for (const name of names) this.programs.add(name);
    if (this.programs.size > before) this.events.changed("room", room.name);
  }

  /** Where this browser is new, and no other has told, all that is there counts as read. */
  #isPast(room: Room): boolean {
    const { info } = room;
    return this.memory.readSeq(room.name) === null && !info?.read && !info?.unread;
  }

  /** Goes into a room: it is the one that is looked at. */
  open(name: string): Room {
    const room = this.#room(name);
    if (this.current !== room) {
      this.current = room;
      this.#noteNew(room);
      room.atEnd = true;
    }
    if (room.info && !room.info.invited_by && !this.isMine(room)) this.memory.enter(name);
    void this.#learnTopic(room);
    this.#enter(room);
    this.events.changed("rooms");
    return room;
  }

  /** Where what is new begins, for whoever goes into a room. */
  #noteNew(room: Room): void {
    room.newCount = room.unread(this.user);
    room.newFrom = room.newCount > 0 ? room.readSeq : null;
  }

  /** Takes a public room off the list, or gives up a membership. */
  async leave(room: Room): Promise<void> {
    if (room.info?.private && room.info.owner !== this.user) await server.removeMember(room.name, this.user);
    this.memory.leave(room.name);
    this.#link.send({ type: "leave", room: room.name });
    room.joined = false;
    this.#gone(room);
  }

  /** The room goes, with all that was said in it. */
  async remove(room: Room): Promise<void> {
    await server.deleteRoom(room.name);
    for (const { id } of this.outbox.inRoom(room.name)) this.outbox.remove(id);
    this.memory.leave(room.name);
    this.#gone(room);
  }

  /** The user is out of it, and sees that at once: the list, which may be long in coming, is not waited for. */
  #gone(room: Room): void {
    this.#touched.add(room.name);
    if (this.current === room) this.current = null;
    this.#forget(room);
    this.events.changed("rooms");
    void this.refreshRooms();
  }

  async create(wanted: Parameters<typeof server.createRoom>[0]): Promise<Room> {
    const info = await server.createRoom(wanted);
    this.#touched.add(info.name);
    this.#listed(info);
    const room = this.#room(info.name);
    room.trouble = null;
    this.#enter(room);
    this.events.changed("rooms");
    return room;
  }

  async change(room: Room, change: Parameters<typeof server.changeRoom>[1]): Promise<void> {
    room.info = await server.changeRoom(room.name, change);
    this.#touched.add(room.name);
    this.events.changed("rooms");
    this.events.changed("room", room.name);
  }

  #room(name: string): Room {
    let room = this.rooms.get(name);
    if (!room) {
      room = new Room(name);
      room.readSeq = this.memory.readSeq(name) ?? 0;
      this.rooms.set(name, room);
    }
    return room;
  }

  #forget(room: Room): void {
    this.rooms.delete(room.name);
  }

  /**
   * Subscribes to a room; first loads the end of its history, if that was not done and somebody sees something of it.
   * What was said in all others since they were read comes over the socket, which costs no call.
   */
  #enter(room: Room): void {
    // To go in would be to take the invitation, and before the list is there nobody knows of one.
    if (room.info?.invited_by) return;
    if (room.timeline.loaded || !this.#wantsPage(room)) this.#join(room);
    else if (!room.loading && !this.#loadQueue.includes(room)) {
      if (room === this.current) this.#loadQueue.unshift(room);
      else this.#loadQueue.push(room);
      this.#pumpLoads();
    }
  }

  /** The room is looked at, or its line in the list, which says what was said last. */
  #wantsPage(room: Room): boolean {
    return room === this.current || (this.#inView.has(room.name) && !room.latest());
  }

  /** A room's line in the list came into view, or went out of it. */
  lineShown(name: string, isShown: boolean): void {
    if (isShown) this.#inView.add(name);
    else this.#inView.delete(name);
    const room = this.rooms.get(name);
    if (!room?.info || !this.isMine(room) || room.timeline.loaded) return;
    this.#enter(room);
  }

  #pumpLoads(): void {
    const current = this.#loadQueue.findIndex((room) => room === this.current);
    while (this.#loadQueue.length > 0 && (this.#loads < LOADS_MAX || current === 0)) {
      const room = this.#loadQueue.shift()!;
      // Passed by while somebody scrolled, or heard of meanwhile: not worth a call any more.
      if (!this.#wantsPage(room)) {
        this.#join(room);
        continue;
      }
      this.#loads += 1;
      void this.#loadLatest(room).finally(() => {
        this.#loads -= 1;
        this.#pumpLoads();
      });
      if (this.#loads > LOADS_MAX) break;
    }
  }

  #join(room: Room): void {
    // Whoever was put out is let in no more: to ask would only bring the list again, and that this question, without end.
    if (room.joined || room.was || room.info?.invited_by || (!room.info && !this.listed)) return;
    const { timeline } = room;
    const isKnown = timeline.loaded || timeline.resumeFrom > 0;
    // Of what counts as read it is only to be known how far it goes.
    room.joinedBare = !isKnown && this.memory.isNewHere && this.#isPast(room);
    if (!isKnown && !room.joinedBare) timeline.begin(this.memory.readSeq(room.name) ?? 0, 0);
    room.joinedFrom = timeline.resumeFrom;
    room.joined = this.#link.send(room.joinedBare ? { type: "join", room: room.name } : { type: "join", room: room.name, after: timeline.resumeFrom });
  }

  // --- history --------------------------------------------------------------------------------------------------

  async #loadLatest(room: Room): Promise<void> {
    const limit = room === this.current ? PAGE : PREVIEW;
    await this.#load(room, "latest", {}, limit, (page) => {
      room.timeline.reset(page, limit);
      const latest = page.at(-1)?.seq ?? 0;
      // What was said before somebody came in, or before this browser was used, is past and not news.
      if ((this.memory.isNewHere && this.#isPast(room)) || (room === this.current && this.memory.readSeq(room.name) === null)) this.#read(room, latest);
      if (room === this.current && room.newFrom === null) this.#noteNew(room);
      this.#join(room);
      this.events.changed("rooms");
    });
    if (room.timeline.hasHole) void this.#fillGap(room);
  }

  async loadEarlier(room: Room): Promise<void> {
    const first = room.timeline.first;
    if (!first || !room.timeline.hasEarlier || room.loading || room.trouble) return;
    await this.#load(room, "earlier", { before: first.seq }, PAGE, (page) => {
      // Unless the end was loaded anew meanwhile: the page would not join on to that.
      if (room.timeline.first === first) room.timeline.addEarlier(page, PAGE);
    });
  }

  /** The next page downwards, of a room whose end is out of reach. */
  async loadLater(room: Room): Promise<void> {
    if (room.timeline.attached || room.loading) return;
    const { last } = room.timeline;
    await this.#load(room, "later", { after: last?.seq ?? 0 }, PAGE, (page) => {
      if (room.timeline.last === last) room.timeline.addLater(page, PAGE);
    });
  }

  /** To the end of the room, whatever is between. */
  async toNewest(room: Room): Promise<void> {
    room.atEnd = true;
    if (!room.timeline.attached) await this.#loadLatest(room);
    this.events.changed("room", room.name);
  }

  /** What is held becomes a stretch around a message, which may lie anywhere in the past. False if it is not found. */
  async goTo(room: Room, id: string): Promise<boolean> {
    if (room.timeline.get(id)) return true;
    const found = room.quoted.get(id) ?? (await this.#find(room, id));
    if (found) {
      room.quoted.set(id, found);
      const [before, after] = await Promise.all([server.history(room.name, { before: found.seq + 1 }, PAGE), server.history(room.name, { after: found.seq }, PAGE)]);
      room.timeline.goTo([...before, ...after]);
    } else {
      // Its id tells nothing of its time: page by page, for a while.
      for (let pages = 0; pages < SEARCH_PAGES_MAX && room.timeline.hasEarlier && !room.timeline.get(id) && !room.trouble; pages += 1) await this.loadEarlier(room);
    }
    this.events.changed("room", room.name);
    return room.timeline.get(id) !== undefined;
  }

  /** A message that others reply to is asked for once, where its id tells when it was made. */
  async wantQuote(room: Room, id: string): Promise<void> {
    if (room.quoted.has(id)) return;
    room.quoted.set(id, null);
    try {
      room.quoted.set(id, await this.#find(room, id));
      this.events.changed("room", room.name);
    } catch {
      room.quoted.delete(id);
    }
  }

  async #find(room: Room, id: string): Promise<Message | null> {
    const at = timeOf(id);
    if (at === null) return null;
    // It was appended soon after it was made, or else when its sender had a line again, which nobody knows.
    const page = await server.history(room.name, { after: Math.max(0, (at - FIND_BEFORE_MS) * 1_000) }, PREVIEW);
    return page.find((message) => message.id === id) ?? null;
  }

  tryLoading(room: Room): void {
    room.trouble = null;
    if (!room.info) void this.refreshRooms();
    if (room.timeline.loaded) void this.loadEarlier(room);
    else this.#enter(room);
    this.events.changed("room", room.name);
  }

  async #load(room: Room, what: "latest" | "earlier" | "later", where: { before?: number; after?: number }, limit: number, take: (page: Message[]) => void): Promise<void> {
    room.loading = what;
    room.trouble = null;
    this.events.changed("room", room.name);
    try {
      const page = await server.history(room.name, where, limit);
      room.loading = null;
      take(page);
      this.#markRead(room);
    } catch (error) {
      const status = error instanceof Refusal ? error.status : -1;
      room.trouble = { status, message: wordsOf(error) };
      if (status === 401) this.events.changed("gone");
    } finally {
      room.loading = null;
      this.events.changed("room", room.name);
    }
  }

  /** Something between what is held and what came in is missing. */
  async #fillGap(room: Room): Promise<void> {
    if (room.loading) return;
    let more = true;
    while (more) {
      more = false;
      await this.#load(room, "later", { after: room.timeline.resumeFrom }, PAGE, (page) => {
        room.timeline.addLater(page, PAGE);
        more = page.length >= PAGE;
      });
    }
  }

  /**
   * What was missed need not come after what is held: it may have turned up too late for its place there, or have changed what
   * is there. The pages that are held are read again, the last first, `most` of them.
   */
  async #mend(room: Room, most = 1): Promise<void> {
    const { timeline } = room;
    const { last } = timeline;
    let before = (last?.seq ?? 0) + 1;
    // Unless another stretch is held meanwhile.
    for (let pages = 0; last && pages < most && before > timeline.first!.seq && timeline.get(last.id) && !room.loading; pages += 1) {
      let first = 0;
      await this.#load(room, "later", { before }, PAGE, (page) => {
        if (timeline.get(last.id)) timeline.mend(page);
        first = page[0]?.seq ?? 0;
      });
      before = first;
    }
  }

  // --- frames ---------------------------------------------------------------------------------------------------

  #hear(frame: ServerFrame): void {
    switch (frame.type) {
      case "welcome":
        if (frame.user !== this.user) return this.events.changed("gone");
        for (const room of this.rooms.values()) {
          if (room.trouble && room.trouble.status !== 404) room.trouble = null;
          if (room === this.current || (room.info && this.isMine(room))) this.#enter(room);
        }
        for (const [id, room] of this.#wishes) this.#link.send({ type: "again", room: room.name, id });
        // The first line comes up while the list is asked for, or just after.
        if (this.#wasLost || (!this.listed && !this.#listing)) void this.refreshRooms();
        this.#wasLost = false;
        this.#pumpOutbox();
        return;
      case "joined":
        return this.#joined(this.rooms.get(frame.room), frame.seq, frame.complete);
      case "message":
        return this.#message(frame);
      case "edited":
      case "deleted":
        return this.#change(frame);
      case "ack":
        return this.#ack(frame.id, frame.seq);
      case "error":
        if (this.outbox.refused(frame, steadyNow())) {
          this.#deletionRefused(frame);
          this.events.changed("outbox");
          return this.#pumpOutbox();
        }
        if (this.#wishRefused(frame)) return;
        // A room that was taken away, most likely: what is listed tells, and the shut door says it in its own words.
        if (frame.code === "not_found" || frame.code === "forbidden") {
          return void this.refreshRooms().then(() => this.current?.isMissing(this.listed) || this.events.tell(server.sentence(frame.message)));
        }
        if (frame.code === "unauthorized") this.events.changed("gone");
        return this.events.tell(server.sentence(frame.message));
      case "draft": {
        const room = this.rooms.get(frame.room);
        if (!room || room.timeline.get(frame.id)) return;
        room.stoppedTyping("bot");
        if (room.drafts.receive(frame, steadyNow())) this.events.changed("draft", room.name);
        return;
      }
      case "read": {
        const room = this.rooms.get(frame.room);
        return void (room && this.#readTo(room, frame.seq));
      }
      case "invited":
        this.events.invited(frame.room, frame.by);
        return void this.refreshRooms();
      case "typing": {
        if (frame.user === this.user) return;
        this.rooms.get(frame.room)?.typing(frame.user, steadyNow());
        return this.events.changed("typing", frame.room);
      }
      case "presence": {
        const room = this.rooms.get(frame.room);
        if (room) room.people = frame.users;
        return this.events.changed("people", frame.room);
      }
    }
  }

  #joined(room: Room | undefined, seq: number, complete: boolean): void {
    if (!room) return;
    if (complete) return this.#joinedWhole(room, seq);
    // Too much was missed. Somebody who reads further up keeps their place; for everybody else the end is loaded.
    if (room === this.current && !room.atEnd) {
      room.timeline.detach();
      this.events.changed("room", room.name);
      void this.#mend(room, MEND_PAGES_MAX);
    } else {
      void this.#loadLatest(room);
    }
  }

  /** All that was missed follows; of what was not asked for it is only known how far it goes. */
  #joinedWhole(room: Room, seq: number): void {
    const { timeline, joinedBare } = room;
    timeline.begin(joinedBare ? seq : 0, seq);
    if (!joinedBare) room.heldFrom = Math.min(room.heldFrom, room.joinedFrom);
    if (joinedBare && this.#isPast(room)) this.#read(room, seq);
    if (seq === 0 && !timeline.loaded) timeline.reset([], PREVIEW);
    if (joinedBare && timeline.hasHole) void this.#fillGap(room);
    this.events.changed("rooms");
  }

  #message(message: Message): void {
    const room = this.rooms.get(message.room);
    if (!room) return;
    const result = room.timeline.receive(message);
    room.stoppedTyping(message.sender);
    room.drafts.finish(message.id);
    if (message.kind !== "user") this.#summedUp.delete(room.name);
    if (result === "gap") void this.#fillGap(room).then(() => this.#mend(room));
    // Whoever wrote it had nothing before it left to read, or it would be counted.
    if (message.sender === this.user && room.timeline.attached && !room.loading && room.unread(this.user) === 0) this.#read(room, message.seq);
    if (result !== "known") {
      this.#markRead(room);
      this.events.arrived(room, message);
      this.events.changed("rooms");
    }
    this.events.changed("room", room.name);
  }

  #change(frame: ChangeFrame): void {
    const room = this.rooms.get(frame.room);
    if (!room) return;
    // A page of history has no events in it, but each message in its newest state.
    if (room.change(frame)) void this.#fillGap(room).then(() => this.#mend(room));
    this.events.changed("rooms");
    this.events.changed("room", room.name);
  }

  /** Nothing that was written is lost with it: it is said, and the message stands there again. */
  #deletionRefused({ id }: ErrorFrame): void {
    const entry = this.outbox.get(id!);
    if (!entry?.failed || !entry.of || entry.text) return;
    this.outbox.remove(entry.id);
    this.events.tell(`Not deleted: ${server.sentence(entry.failed.message)}`);
    this.events.changed("room", entry.room);
  }

  #ack(id: string, seq: number): void {
    if (this.#wishes.delete(id)) return;
    const entry = this.outbox.remove(id);
    if (entry) {
      const room = this.rooms.get(entry.room);
      const { of } = entry;
      const place = { room: entry.room, seq, prev: 0, id, by: this.user };
      if (of) room?.change(entry.text ? { ...place, type: "edited", of, message: entry.text } : { ...place, type: "deleted", of }, true);
      else room?.timeline.keepOwn({
        room: entry.room,
        seq,
        prev: 0,
        at: new Date(seq / 1_000).toISOString(),
        id,
        sender: this.user,
        kind: "user",
        message: entry.text,
        reply_to: entry.replyTo,
      });
      this.events.changed("room", entry.room);
      // Invited again, then.
      if (room && !room.info && this.listed) void this.refreshRooms();
    }
    this.events.changed("outbox");
    this.#pumpOutbox();
  }

  #lost(): void {
    this.#wasLost = true;
    this.outbox.lineLost();
    for (const room of this.rooms.values()) {
      room.joined = false;
      room.people = [];
    }
    this.events.changed("people");
  }

  // --- writing --------------------------------------------------------------------------------------------------

  send(room: Room, text: string, replyTo?: string): Outgoing {
    const entry: Outgoing = { id: newId(serverNow()), room: room.name, text: text.trim(), at: Date.now() };
    if (replyTo) entry.replyTo = replyTo;
    if (room.info && !this.isMine(room)) this.memory.enter(room.name);
    if (asksToCatchUp(text)) this.#summedUp.set(room.name, steadyNow() + SUMMED_UP_MS);
    room.newFrom = null;
    this.memory.keepDraft(room.name, null);
    this.#typedAt.delete(room.name);
    return this.#put(room, entry);
  }

  /** Gives a message another text; an empty one deletes it. An earlier change that never went out is not needed any more. */
  rewrite(room: Room, of: string, text: string): Outgoing {
    for (const { id, sent } of this.outbox.changesOf(of)) if (!sent) this.outbox.remove(id);
    return this.#put(room, { id: newId(serverNow()), room: room.name, text: text.trim(), of, at: Date.now() });
  }

  #put(room: Room, entry: Outgoing): Outgoing {
    this.outbox.add(entry);
    if (!this.outbox.durable && this.phase.name !== "open") this.events.tell("This browser's storage is full or closed: do not reload before this is sent.");
    this.events.changed("outbox");
    this.events.changed("room", room.name);
    this.#pumpOutbox();
    return entry;
  }

  retry(id: string): void {
    const entry = this.outbox.get(id);
    this.outbox.retry(id);
    this.events.changed("outbox");
    if (entry) this.events.changed("room", entry.room);
    this.#pumpOutbox();
  }

  /** Takes back what the server refused. */
  takeBack(id: string): Outgoing | undefined {
    const entry = this.outbox.remove(id);
    this.events.changed("outbox");
    if (entry) this.events.changed("room", entry.room);
    return entry;
  }

  typing(room: Room): void {
    const now = steadyNow();
    if (now - (this.#typedAt.get(room.name) ?? -TYPING_EVERY_MS) < TYPING_EVERY_MS) return;
    if (this.#link.send({ type: "typing", room: room.name })) this.#typedAt.set(room.name, now);
  }

  /** Wants another answer after this one. Until the server has noted it, it is asked for again on each new line. */
  answerAgain(room: Room, id: string): void {
    if (!this.#link.send({ type: "again", room: room.name, id })) return this.events.tell("There is no connection right now.");
    this.#wishes.set(id, room);
    room.askedAgain.set(id, serverNow());
    this.events.changed("room", room.name);
  }

  #wishRefused(frame: ErrorFrame): boolean {
    const room = frame.id === undefined ? undefined : this.#wishes.get(frame.id);
    if (!room) return false;
    if (frame.retry_after_ms !== undefined) {
      setTimeout(() => this.#wishes.has(frame.id!) && this.#link.send({ type: "again", room: room.name, id: frame.id! }), frame.retry_after_ms);
      return true;
    }
    this.#wishes.delete(frame.id!);
    room.askedAgain.delete(frame.id!);
    this.events.changed("room", room.name);
    this.events.tell(server.sentence(frame.message));
    return true;
  }

  stopReply(room: Room, id: string): void {
    if (!this.#link.send({ type: "stop", room: room.name, id })) return this.events.tell("There is no connection right now.");
    room.drafts.stopping(id);
    room.stopped.set(id, this.user);
    this.events.changed("room", room.name);
  }

  #pumpOutbox(): void {
    if (this.phase.name === "open") {
      for (const { room, id, text, replyTo, of } of this.outbox.due(steadyNow())) {
        if (!of) this.#link.send({ type: "send", room, id, message: text, reply_to: replyTo });
        else if (text) this.#link.send({ type: "edit", room, id, of, message: text });
        else this.#link.send({ type: "delete", room, id, of });
      }
    }
    if (this.#outboxTimer) clearTimeout(this.#outboxTimer);
    const next = this.phase.name === "open" ? this.outbox.nextDue() : null;
    this.#outboxTimer = next === null ? null : setTimeout(() => this.#pumpOutbox(), Math.max(50, next - steadyNow()));
  }

  #storageChanged = (event: StorageEvent) => {
    if (this.outbox.storageChanged(event.key, event.newValue, steadyNow())) {
      this.events.changed("outbox");
      if (this.current) this.events.changed("room", this.current.name);
      this.#pumpOutbox();
    } else if (this.memory.storageChanged(event.key)) {
      for (const room of this.rooms.values()) room.readSeq = Math.max(room.readSeq, this.memory.readSeq(room.name) ?? 0);
      this.events.changed("rooms");
    }
  };

  // --- what was read --------------------------------------------------------------------------------------------

  /** The user sees the end of the room that is looked at, or no longer does. */
  atEnd(room: Room, atEnd: boolean): void {
    room.atEnd = atEnd;
    this.#markRead(room);
  }

  /** Called when the tab is looked at again, too. */
  markRead(): void {
    if (this.current) this.#markRead(this.current);
  }

  #markRead(room: Room): void {
    if (room !== this.current || !room.atEnd || !room.timeline.attached || document.hidden) return;
    this.#read(room, room.timeline.last?.seq ?? 0);
  }

  #read(room: Room, seq: number): void {
    if (this.#readTo(room, seq)) this.#toTell.set(room.name, seq);
  }

  /** Here or on another device. True if it was not known yet. */
  #readTo(room: Room, seq: number): boolean {
    if (seq <= room.readSeq) return false;
    room.readSeq = seq;
    this.memory.keepRead(room.name, seq);
    this.events.changed("rooms");
    return true;
  }

  /** Once a second at most, and only to a server that keeps it. */
  #tellRead(): void {
    const now = steadyNow();
    for (const [room, until] of this.#summedUp) if (now > until) this.#summedUp.delete(room);
    for (const [room, seq] of this.#toTell) {
      if (this.#summedUp.has(room)) continue;
      if (this.rooms.get(room)?.info?.read === undefined || this.#link.send({ type: "read", room, seq })) this.#toTell.delete(room);
    }
  }

  unreadInAll(): number {
    let count = 0;
    for (const room of this.rooms.values()) if (this.isMine(room)) count += room.unread(this.user);
    return count;
  }

  /** Whether a message is one to call the user for. */
  concerns(room: Room, message: Message): boolean {
    if (message.sender === this.user) return false;
    if (room.info?.private || room.name === this.user || mentions(message.message, this.user)) return true;
    const asked = message.reply_to ? room.timeline.get(message.reply_to) : undefined;
    return asked?.sender === this.user;
  }

  #upkeep(): void {
    const now = steadyNow();
    this.#tellRead();
    for (const room of this.rooms.values()) {
      if (room.drafts.expire(now)) this.events.changed("room", room.name);
    }
    this.events.changed("typing");
  }
}
