/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * tell_stories: writes the text of the sample "stories".
 *
 * A story is a plot: a row of beats, each a sentence or two with several ways to
 * say it. Who it is about, what they want and where they are is drawn when it is
 * first named and stays what it is until the story ends, so that much of a story
 * follows from words far back in it: names, pronouns, colours, the things that
 * were lost, the order of places. Counting neighbours learns the phrases;
 * attention is for the rest.
 *
 * In a template
 *   {list}      is one of that list, drawn now
 *   {list.x}    is the x of that list in this story: drawn on first use, no two of
 *               them alike
 *   {list.x/2}  is its form 2; the forms of an entry stand between bars
 *   {H} {he}    and the like are short for the forms of the two heroes' names
 *   ^           makes the next letter a capital
 * and "a" becomes "an" where it has to.
 *
 * usage: tell_stories FOLDER       (writes stories.{train,calib,test}.txt there)
 *        tell_stories --first FILE (writes a first reader)
 *
 * The first reader is for training only: little scenes in which names and things
 * come again every few words, so that looking back pays off at once. From stories
 * alone, where most words follow from their neighbours, that is learnt late.
 *
 * One story a line, no story twice. The same bytes on every machine: the only
 * source of chance is base/rng.h with a fixed seed. Printed is how many bits the
 * choices of the test stories are, which no model can do better than by much.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"

enum { SEED = 20261121, TRAIN = 2200, CALIB = 160, TEST = 200,
	STORIES = TRAIN + CALIB + TEST, FIRST = 2000 };
enum { BOUND_MAX = 64, DEPTH_MAX = 8, KEY_MAX = 32 };

/* ==== the words ==== */

struct list {
	const char *name;
	const char *const *entry;
};

#define LIST(id, ...) \
	static const char *const words_##id[] = { __VA_ARGS__, NULL }

/* name, she, her (whom), her (whose) */
LIST(name, "Mina|she|her|her", "Tobo|he|him|his", "Lila|she|her|her",
    "Pim|he|him|his", "Suri|she|her|her", "Bram|he|him|his",
    "Nella|she|her|her", "Otto|he|him|his", "Wren|she|her|her",
    "Hugo|he|him|his", "Tilda|she|her|her", "Jasper|he|him|his",
    "Dora|she|her|her", "Milo|he|him|his", "Fenna|she|her|her",
    "Rufus|he|him|his", "Olive|she|her|her", "Kip|he|him|his",
    "Greta|she|her|her", "Leo|he|him|his", "Hazel|she|her|her",
    "Bodo|he|him|his", "Ivy|she|her|her", "Max|he|him|his",
    "Lotte|she|her|her", "Finn|he|him|his", "Maya|she|her|her",
    "Anton|he|him|his", "Pippa|she|her|her", "Oskar|he|him|his");
LIST(kind, "fox", "hare", "owl", "bear", "mouse", "goat", "duck", "cat",
    "crow", "hedgehog", "frog", "pony", "squirrel", "otter", "mole", "badger",
    "lamb", "goose", "beaver", "sparrow");
LIST(trait, "little", "shy", "brave", "clumsy", "curious", "gentle", "proud",
    "quiet", "cheerful", "stubborn", "careful", "dreamy", "young", "clever",
    "lazy", "polite");
LIST(home, "a small house by the mill", "a hollow tree", "a village on a hill",
    "a warm den under the roots of an oak", "a hut at the edge of the wood",
    "a green valley", "a cottage with a blue door", "a nest of dry leaves",
    "an old barn", "a burrow near the road");
LIST(relative, "grandmother|she|her", "grandfather|he|his", "aunt|she|her",
    "uncle|he|his", "mother|she|her", "father|he|his");
/* the river, by the river */
LIST(place, "river|by the river", "meadow|in the meadow",
    "market|at the market", "old bridge|on the old bridge",
    "lake|at the lake", "hill|on the hill", "forest|in the forest",
    "orchard|in the orchard", "mill|at the mill", "beach|on the beach",
    "garden|in the garden", "well|by the well", "harbour|at the harbour",
    "windy cliff|on the windy cliff", "pond|by the pond");
LIST(colour, "red", "blue", "green", "yellow", "golden", "silver", "white",
    "purple", "orange", "brown");
LIST(thing, "kite", "ball", "lantern", "drum", "scarf", "whistle", "bucket",
    "ribbon", "bell", "basket", "umbrella", "hat", "button", "marble", "flute",
    "blanket", "spoon", "key", "cup", "top");
LIST(hide, "under a fallen log", "behind the tall reeds", "inside a hollow stump",
    "in the long grass", "between two big stones", "beneath the bushes",
    "at the foot of an old wall", "in a heap of leaves", "next to the gate",
    "under the wooden bench", "among the roots of a willow");
LIST(junk, "a sleepy snail", "an empty nest", "a broken pot", "a heap of acorns",
    "two cross beetles", "a wet boot", "a rusty nail", "a very surprised toad",
    "a white feather", "a spider and her web", "a puddle of mud",
    "three grey pebbles");
LIST(food, "honey cake", "loaf of bread", "berry pie", "bag of nuts",
    "piece of cheese", "bowl of soup", "apple tart", "pear", "ginger biscuit",
    "plum", "corn muffin", "jar of jam");
/* the dark, how it is, a place for it */
LIST(fear, "the dark|dark|in the cellar", "deep water|deep|in the lake",
    "thunder|loud|out in the storm", "high places|high|up on the cliff",
    "the old forest|gloomy|in the old forest",
    "the wind at night|wild|on the open hill",
    "narrow caves|narrow|in the stone cave",
    "the long bridge|shaky|on the far side of the bridge");
/* a boat, to do what, how it went */
LIST(project, "boat|sail across the pond|sailed from one shore to the other",
    "kite|reach the clouds|climbed until it was a tiny dot",
    "sled|race down the hill|flew down the hill like a bird",
    "swing|touch the leaves|swung up to the highest leaves",
    "tree house|see the whole valley|stood firm in the biggest tree",
    "raft|float down the river|floated past the mill",
    "cart|carry apples to the market|rolled all the way to the market",
    "windmill|catch the wind|turned and turned in the breeze");
LIST(part, "rope", "a strong plank", "some nails", "a piece of cloth",
    "two round wheels", "a bucket of glue", "a long pole", "a sharp saw",
    "a ball of string", "a pot of paint");
LIST(weather, "rain|it began to rain", "snow|snow began to fall",
    "fog|a thick fog came up", "wind|a strong wind rose",
    "storm|a storm broke loose", "hail|hail came down from the sky");
LIST(seed, "bean|beans", "pumpkin|pumpkins", "sunflower|sunflowers",
    "melon|melons", "carrot|carrots", "cherry|cherries", "radish|radishes",
    "pea|peas");
LIST(mend, "glue", "a needle and thread", "a strip of bark", "some wax",
    "a bit of string", "a drop of resin");
LIST(trap, "a deep hole", "a fishing net", "a thorn bush", "a muddy ditch",
    "a gap in the fence", "an old barrel");
LIST(day, "one morning", "one day", "one sunny day", "one cold day",
    "early one morning", "one afternoon", "on a quiet Sunday",
    "on the first day of spring", "one autumn day", "one windy afternoon",
    "late in the summer");
LIST(later, "a week later", "the next day", "some days later",
    "before the month was over", "not long after that", "when winter came");
LIST(sad, "sad", "unhappy", "so quiet", "crying", "so gloomy");
LIST(glad, "happy", "glad", "full of joy", "very pleased", "proud and happy");
LIST(said, "said", "said", "answered", "replied");
LIST(called, "named", "called", "by the name of");
LIST(walked, "walked", "ran", "went", "hurried", "wandered", "skipped");
LIST(slowly, "slowly", "quietly", "at once", "with a smile", "very carefully",
    "without a word");
LIST(good, "good", "kind", "true", "dear");
LIST(number, "two", "three", "four", "five", "seven", "ten");

LIST(sky, "blue", "grey", "pink", "clear", "dark", "pale", "full of clouds",
    "as bright as a mirror");
LIST(smell, "grass", "smoke", "fresh bread", "rain", "flowers", "the sea",
    "apples", "snow");
LIST(doing, "singing", "sleeping", "fishing", "dancing", "counting clouds",
    "mending a net", "reading a letter", "telling jokes", "picking flowers",
    "washing socks");
LIST(noise, "an owl called", "a bell rang", "a door creaked", "a dog barked",
    "a branch cracked", "the wind whistled", "a clock struck {number}",
    "somebody laughed");
LIST(feeling, "hope", "longing", "joy", "fear", "curiosity", "patience",
    "hunger", "courage");

/* ==== beats ==== */

/* Things by the way; often there is none. */
LIST(aside, "", "", "", "the sky was {sky}, and the air smelled of {smell}.",
    "a {trait} {kind} was {doing} {place/1}.", "somewhere {noise}.",
    "{H} hummed a song about a {kind} and a {thing}.",
    "\"what would my {relative} say?\" thought {H}.",
    "{H} thought of a {food} and felt a little better.",
    "it was so quiet that one could hear a {kind} breathe {place/1}.",
    "far away {noise}, and {H} felt {feeling} and {feeling}.",
    "{number} birds were sitting on a {colour} roof.");

LIST(intro, "once upon a time there was a {trait.h} {kind.h} {called} {H}.",
    "in {home.h} lived a {trait.h} {kind.h} {called} {H}.",
    "{H} was a {trait.h} {kind.h} who lived in {home.h}.",
    "there once was a {trait.h} {kind.h} {called} {H}. ^{he} lived in {home.h}.",
    "a {trait.h} {kind.h} {called} {H} lived in {home.h} with {his} "
    "{relative}.");
LIST(meet, "just then {F} the {kind.f} came along the path.",
    "on the way {he} met {F}, a {trait.f} {kind.f}.",
    "{F}, the {trait.f} {kind.f} from next door, saw {him}.",
    "a {trait.f} {kind.f} {called} {F} was sitting {place/1}.",
    "{he} sat down, and soon {F} the {kind.f} sat down beside {him}.");
LIST(friend, "{his} best friend was {F}, a {trait.f} {kind.f}.",
    "every day {he} played with {F}, the {trait.f} {kind.f}.",
    "{F} the {kind.f} lived next door, and the two were {good} friends.",
    "{he} had a {good} friend, a {trait.f} {kind.f} {called} {F}.");
LIST(thanks, "\"thank you, {F},\" {said} {H}. \"^you are a {good} friend.\"",
    "{H} hugged {F} and would not let {fim} go.",
    "\"I will never forget this,\" {said} {H} {slowly}.",
    "{H} was {glad} and thanked {F} {number} times.",
    "\"how can I ever thank you?\" asked {H}. \"^just be my friend,\" {said} "
    "{F}.");
LIST(end, "and from that day on {H} and {F} were the best of friends.",
    "then they walked home together, and the stars came out.",
    "that night {H} slept well and dreamed of {F} and the {place}.",
    "{H} told {his} {relative} all about it, and they laughed until supper.",
    "and if you go to the {place}, you may still see {H} and {F} there.",
    "they were both {glad}, and that is the end of the story.");

/* Something is lost and found. */
LIST(own, "{he} had a {colour.a} {thing.a} and took it everywhere.",
    "{his} {relative.g} had given {him} a {colour.a} {thing.a}, and {H} loved "
    "it very much.",
    "more than anything {he} loved {his} {colour.a} {thing.a}.",
    "{he} owned only one thing, a {colour.a} {thing.a}, but {he} was {glad} "
    "with it.");
LIST(lose, "{day}, {he} {walked} to the {place.p}, and when {he} came home the "
    "{thing.a} was gone.",
    "{day}, {H} played {place.p/1}. ^when it was time to go, {he} could not "
    "find the {thing.a}.",
    "but {day}, somewhere between home and the {place.p}, the {thing.a} was "
    "lost.",
    "{day}, {he} fell asleep {place.p/1}, and when {he} woke up, the "
    "{colour.a} {thing.a} was not there.");
LIST(ask_sad, "\"why are you {sad}?\" asked {F}.",
    "\"what is the matter, {H}?\" asked {F}.",
    "\"you look {sad} today,\" {said} {F}. \"^what happened?\"",
    "\"dear {H}, who made you {sad}?\" asked the {kind.f}.");
LIST(tell_lost, "\"I have lost my {colour.a} {thing.a},\" {said} {H}.",
    "\"my {thing.a} is gone,\" {said} {H}, \"the {colour.a} one.\"",
    "{H} told {fim} about the {colour.a} {thing.a}.",
    "\"I had a {colour.a} {thing.a}, and now I have nothing,\" {said} {H}.");
LIST(offer, "\"do not worry,\" {said} {F}. \"^we will find it together.\"",
    "\"I will help you look for it,\" {said} {F} {slowly}.",
    "\"two can look better than one,\" {said} {F}, and off they went.",
    "{F} took {him} by the paw. \"^come, let us go back to the {place.p}.\"");
LIST(seek, "they looked {hide.1}, but they found only {junk.1}.",
    "first they looked {hide.1}. ^there was {junk.1}, but no {thing.a}.",
    "{F} looked {hide.1} and found {junk.1}.");
LIST(seek_more, "then they looked {hide.2}, and there was {junk.2}.",
    "{H} looked {hide.2}, but there was only {junk.2}.",
    "they asked {junk.2} {hide.2}, but got no answer.");
LIST(find, "at last {F} looked {hide.3}, and there was the {colour.a} "
    "{thing.a}!",
    "and then, {hide.3}, something {colour.a} was shining. ^it was the "
    "{thing.a}!",
    "\"look!\" cried {F}. ^{hide.3} lay the {colour.a} {thing.a}.",
    "when they were about to give up, {H} saw the {colour.a} {thing.a} "
    "{hide.3}.");

/* Something is shared, and a kindness comes back. */
LIST(has_food, "{day}, {he} packed a {food.a} and {walked} to the {place.p}.",
    "{day}, {his} {relative.g} baked a {food.a} for {him}, and {he} carried it "
    "to the {place.p}.",
    "{day}, {he} bought a {food.a} with {his} last coin and sat down "
    "{place.p/1}.");
LIST(hungry, "\"I have not eaten for {number} days,\" {said} {F}.",
    "{F} looked at the {food.a} and {fis} eyes grew big.",
    "\"is that a {food.a}?\" asked {F}. \"^I am so hungry.\"",
    "{F} was thin and cold, and {fe} did not say a word.");
LIST(share, "{H} broke the {food.a} in two and gave {fim} the bigger half.",
    "\"then we will share my {food.a},\" {said} {H}.",
    "{H} thought for a while. ^then {he} gave {F} the whole {food.a}.",
    "\"take it,\" {said} {H} {slowly}, \"I can eat at home.\"");
LIST(stuck, "{later}, {H} fell into {trap.t} and could not get out.",
    "{later}, {H} was caught in {trap.t} {place.p/1}.",
    "{later}, on the way to the {place.q}, {H} got stuck in {trap.t}.");
LIST(cry_help, "{he} called for help, but nobody heard {him}.",
    "\"help!\" cried {H}, again and again.",
    "the sun went down, and {he} was afraid.",
    "{he} pulled and pushed, but it was no use.");
LIST(rescue, "but {F} heard {him} and pulled {him} out of {trap.t}.",
    "then {F} came with a long rope. ^soon {H} was free.",
    "{F}, who had not forgotten the {food.a}, came running and set {him} "
    "free.",
    "it was {F} who found {him} and helped {him} out.");
LIST(repaid, "\"you gave me your {food.a},\" {said} {F}, \"and now I could give "
    "something back.\"",
    "\"that was for the {food.a},\" {said} {F}.",
    "and so the {food.a} was paid back, as {good} deeds are.");

/* A fear is overcome. */
LIST(afraid, "{H} was not afraid of anything, except {fear.x}.",
    "there was only one thing that {he} feared: {fear.x}.",
    "but {H} was terribly afraid of {fear.x}.",
    "when the others laughed and played, {H} stayed at home, because {he} was "
    "afraid of {fear.x}.");
LIST(missing, "{day}, {F} did not come home. ^everyone looked for {fim}, but "
    "{fe} was nowhere to be found.",
    "{day}, a crow brought news. \"^{F} is in trouble {fear.x/2}!\"",
    "{day}, {H} heard a voice {fear.x/2}. ^it was {F}, who was hurt.",
    "{day}, {F} lost {fis} way {fear.x/2} and could not get back.");
LIST(must_go, "it was {fear.x/1} there, and {H} was trembling, but {he} went "
    "all the same.",
    "\"I am afraid of {fear.x},\" {said} {H}, \"but {F} needs me.\"",
    "{H} took a {colour.a} {thing.a}, closed {his} eyes and {walked} off.",
    "{H} thought of {F}, and for the first time {he} forgot {his} fear.");
LIST(on_the_way, "step by step {he} went on, and {his} heart beat like a drum.",
    "it was {fear.x/1} and cold, but {he} did not turn back.",
    "{he} counted to {number}, and then to {number}, and went on.",
    "\"I can do it,\" {he} whispered, \"I can do it.\"");
LIST(saved, "{fear.x/2} {he} found {F} and led {fim} home.",
    "at last {he} heard {F}. \"^here I am!\" cried {H}, and took {fim} home.",
    "{he} found {F} and carried {fim} all the way back.");
LIST(not_afraid, "since then {H} has not been afraid of {fear.x}.",
    "\"it was not so {fear.x/1} after all,\" {said} {H}.",
    "\"were you not afraid?\" asked {F}. \"^yes,\" {said} {H}, \"but you "
    "were more important than {fear.x}.\"",
    "now everybody knew that the {trait.h} {kind.h} was brave.");

/* Something is built. */
LIST(plan, "{day}, {he} had an idea. ^{he} wanted to build a {project.j} that "
    "could {project.j/1}.",
    "more than anything {he} wanted to build a {project.j} and {project.j/1}.",
    "\"if I had a {project.j}, I could {project.j/1},\" thought {H} {day}.");
LIST(needs, "for that {he} needed {part.1} and {part.2}.",
    "but {he} had no tools. ^{he} needed {part.1}, and also {part.2}.",
    "\"all I need is {part.1} and {part.2},\" {he} said.");
LIST(gets, "{H} asked {F} the {kind.f}. \"^I have {part.1},\" {said} {F}, \"if "
    "I may help you.\"",
    "{F}, a {trait.f} {kind.f}, had {part.1} and was happy to help.",
    "first {he} went to {F} the {kind.f}, who gave {him} {part.1}.");
LIST(gets_more, "they found {part.2} {hide}.",
    "for {part.2} they gave the miller a {food}.",
    "{his} {relative} gave them {part.2}.",
    "then they {walked} to the {place} to get {part.2}.");
LIST(work, "they worked for {number} days, and they sang as they worked.",
    "{H} measured and {F} cut, and the {project.j} grew.",
    "on the first day nothing fit, but they did not give up.",
    "{number} times it fell apart, and {number} times they began again.");
LIST(done, "when the {project.j} was done, they painted it {colour}. ^it "
    "{project.j/2}!",
    "at last the {project.j} was ready, and it {project.j/2}.",
    "then the great moment came. ^the {project.j} {project.j/2}, and everyone "
    "cheered.");
LIST(proud, "\"our {project.j} is the best in the world,\" {said} {F}.",
    "\"alone I could not have done it,\" {said} {H}.",
    "{H} and {F} were {glad}, for they had built the {project.j} together.");

/* A gift is brought. */
LIST(birthday, "{day}, it was the birthday of {his} {relative.g}, who lived "
    "beyond the {place.1}.",
    "{day}, {he} wanted to visit {his} {relative.g}, who lived far away behind "
    "the {place.1}.",
    "{his} {relative.g} was ill, and {day} {H} set out to see {relative.g/2} "
    "house beyond the {place.1}.");
LIST(gift, "{he} took a {food.a} and a {colour.a} {thing.a} as a gift.",
    "{he} packed a {food.a} and a {colour.a} {thing.a} and {walked} off.",
    "in {his} bag were a {food.a} and a {colour.a} {thing.a}.");
LIST(stage, "{he} {walked} past the {place.2} and over the {place.3}.",
    "first {he} came to the {place.2} and then to the {place.3}.",
    "by noon {he} had left the {place.2} behind, and the {place.3} lay before "
    "{him}.");
LIST(bad_weather, "but {place.3/1} {weather.w/1}, and {H} could not see the path.",
    "then {weather.w/1}. ^{H} was wet and tired.",
    "suddenly {weather.w/1}, and {he} had to hide {hide}.");
LIST(shelter, "\"come in,\" {said} {F}, \"and wait until the {weather.w} is "
    "over.\"",
    "\"nobody should walk alone in the {weather.w},\" {said} {F}. \"^I know the "
    "way to the {place.1}.\"",
    "{F} held an umbrella over {him}, and together they went on through the "
    "{weather.w}.");
LIST(arrive, "when they came to the {place.1}, {his} {relative.g} was waiting "
    "at the door.",
    "in the evening they passed the {place.1} and knocked at {his} "
    "{relative.g}'s door.",
    "the {weather.w} was over when they reached the house of {his} "
    "{relative.g}.");
LIST(give, "{relative.g/1} ate the {food.a} and looked at the {thing.a} for a "
    "long time.",
    "\"a {food.a}!\" cried {his} {relative.g}. \"^and such a {colour.a} "
    "{thing.a}!\"",
    "{H} gave {relative.g/2} old hands the {colour.a} {thing.a}, and they ate "
    "the {food.a} by the fire.",
    "\"the best gift is that you came,\" {said} {his} {relative.g}.");

/* A quarrel. */
LIST(both_want, "{day}, they found a {colour.a} {thing.a} {hide.1}.",
    "{day}, the two saw a {colour.a} {thing.a} {place.p/1}.",
    "{day}, somebody gave them a {colour.a} {thing.a}, but only one.");
LIST(mine, "\"it is mine,\" {said} {H}. \"^no, it is mine,\" {said} {F}.",
    "\"I saw the {thing.a} first,\" cried {F}. \"^but I took it first,\" cried "
    "{H}.",
    "both of them wanted the {thing.a}, and neither would wait.");
LIST(broken, "they pulled and pulled until the {colour.a} {thing.a} broke.",
    "{H} pulled on one side and {F} on the other, and with a crack the "
    "{thing.a} broke in two.",
    "the {thing.a} fell to the ground and broke into {number} pieces.");
LIST(apart, "{F} went home angry, and {H} went to the {place.q} alone.",
    "for {number} days they did not speak to each other.",
    "\"I will never play with you again,\" {said} {F}, and {walked} away.",
    "that evening {H} could not eat, and {F} could not sleep.");
LIST(sorry, "{later}, {H} knocked at {F}'s door. \"^I am sorry,\" {he} said.",
    "\"I am sorry,\" {said} {F} {later}. \"^so am I,\" {said} {H}.",
    "{later}, they met {place.q/1} and both said sorry at the same time.");
LIST(fix, "with {mend.m} they mended the {colour.a} {thing.a}.",
    "{F} had brought {mend.m}, and {H} had kept the pieces of the {thing.a}.",
    "it took them an hour and {mend.m}, and the {thing.a} was whole again.");
LIST(turns, "from now on {H} had the {thing.a} in the morning and {F} had it "
    "in the evening.",
    "\"today it is yours and tomorrow it is mine,\" {said} {H}.",
    "they hung the {colour.a} {thing.a} {place.p/1}, where everyone could use "
    "it.");

/* A race. */
LIST(boast, "{F} the {kind.f} was fast and told everyone so.",
    "\"nobody is as fast as I am,\" {said} {F}, a {trait.f} {kind.f}, every "
    "day.",
    "{F}, the fastest {kind.f} far and wide, laughed at {H}.");
LIST(dare, "{day}, {H} had enough. \"^let us race from the {place.1} to the "
    "{place.2},\" {he} said.",
    "\"then race with me,\" {said} {H} {day}, \"from the {place.1} to the "
    "{place.2}.\"",
    "{day}, there was a race from the {place.1} to the {place.2}, and only {H} "
    "and {F} took part.");
LIST(start, "they started {place.1/1}, and soon {F} was far ahead.",
    "\"one, two, three!\" cried the crow, and {F} ran off like the wind.",
    "{F} ran so fast that {H} could see only dust.");
LIST(overtake, "but halfway {F} lay down {hide.1} to rest, and fell asleep.",
    "but {F} stopped {place.3/1} to eat a {food.a}, and then another one.",
    "but {F} took the wrong path and came out {place.3/1}.");
LIST(plod, "{H} went on and on and did not stop.",
    "{H} was slow, but {he} went straight on.",
    "step by step, {H} came nearer to the {place.2}.");
LIST(win, "when {F} came to the {place.2}, {H} was already there.",
    "{H} was the first to reach the {place.2}, and everybody cheered.",
    "and so it was {H} who won the race to the {place.2}.");
LIST(lesson, "\"you were faster,\" {said} {F}. \"^no,\" {said} {H}, \"but I did "
    "not stop.\"",
    "{F} never boasted again.",
    "\"will you teach me to be patient?\" asked {F}. \"^if you teach me to "
    "run,\" {said} {H}.");

/* Something grows. */
LIST(plant, "{day}, {he} planted a {seed.s} seed {place.p/1}.",
    "{day}, {he} found a {seed.s} seed {hide} and planted it {place.p/1}.",
    "{day}, {his} {relative.g} gave {him} a single {seed.s} seed.");
LIST(wait, "{he} watered it every day, but nothing happened.",
    "{he} looked at the ground for {number} days, but there was no {seed.s}.",
    "\"when will it grow?\" {H} asked again and again.");
LIST(patience, "\"you must wait,\" {said} {F} the {kind.f}. \"^{seed.s/1} need "
    "time.\"",
    "\"a {seed.s} does not grow faster when you shout at it,\" {said} {F}, a "
    "{trait.f} {kind.f}.",
    "{F} the {kind.f} laughed. \"^give it sun and water and {number} weeks,\" "
    "{fe} said.");
LIST(sprout, "then {weather.w/1}, and after the {weather.w} a green leaf looked "
    "out of the ground.",
    "{later}, there was a tiny green leaf.",
    "{later}, the first leaf came, then a second, and then {number} more.");
LIST(danger, "a snail came to eat it, but {F} carried the snail to the "
    "{place.q}.",
    "the sun was hot, and they took turns to bring water from the {place.q}.",
    "at night {weather.v/1}, and {H} covered the plant with a {colour.a} "
    "{thing.a}.");
LIST(harvest, "in autumn there were so many {seed.s/1} that nobody could count "
    "them.",
    "it grew and grew, and at last there were {number} baskets of {seed.s/1}.",
    "it was the biggest {seed.s} that anyone had ever seen.");
LIST(feast, "{H} and {F} made soup and invited everyone {place.p/1}.",
    "they kept one seed for the next year and shared all the rest.",
    "\"now I know how to wait,\" {said} {H}.",
    "they sold the {seed.s/1} at the market and bought a {food.a}.");

/* The first reader. */
LIST(pair, "there was a {kind.h} named {H} and a {kind.f} named {F}.",
    "{H} was a {kind.h}, and {F} was a {kind.f}.",
    "a {kind.h} called {H} met a {kind.f} called {F}.");
LIST(scene, "{H} saw {F}.", "{F} ran after {H}.",
    "\"good morning, {F},\" {said} {H}.", "\"come, {H},\" {said} {F}.",
    "{H} gave {F} the {colour.a} {thing.a}.",
    "{F} looked at the {colour.a} {thing.a}.",
    "\"where is the {thing.a}?\" asked {H}.", "{F} had the {thing.a}.",
    "{H} and {F} {walked} to the {place.p}.", "{F} was sitting {place.p/1}.",
    "{H} sat down, and {F} sat down beside {him}.",
    "{F} the {kind.f} and {H} the {kind.h} were friends.",
    "\"{H}!\" cried {F}.", "\"^here I am, {F},\" {said} {H}.",
    "the {thing.a} was {colour.a}.", "the {kind.h} thanked {F}.",
    "{F} told {H} about the {place.p}.", "the {kind.f} laughed, and {H} "
    "laughed.", "\"it is my {colour.a} {thing.a},\" {said} {F}.",
    "{H} took {his} {thing.a} and {walked} off.");

#define ROW(id) { #id, words_##id }
static const struct list lists[] = {
	ROW(name), ROW(kind), ROW(trait), ROW(home), ROW(relative), ROW(place),
	ROW(colour), ROW(thing), ROW(hide), ROW(junk), ROW(food), ROW(fear),
	ROW(project), ROW(part), ROW(weather), ROW(seed), ROW(mend), ROW(trap),
	ROW(day), ROW(later), ROW(sad), ROW(glad), ROW(said), ROW(called),
	ROW(walked), ROW(slowly), ROW(good), ROW(number), ROW(sky), ROW(smell),
	ROW(doing), ROW(noise), ROW(feeling), ROW(aside),
	ROW(intro), ROW(meet), ROW(friend), ROW(thanks), ROW(end),
	ROW(own), ROW(lose), ROW(ask_sad), ROW(tell_lost), ROW(offer), ROW(seek),
	ROW(seek_more), ROW(find),
	ROW(has_food), ROW(hungry), ROW(share), ROW(stuck), ROW(cry_help),
	ROW(rescue), ROW(repaid),
	ROW(afraid), ROW(missing), ROW(must_go), ROW(on_the_way), ROW(saved),
	ROW(not_afraid),
	ROW(plan), ROW(needs), ROW(gets), ROW(gets_more), ROW(work), ROW(done),
	ROW(proud),
	ROW(birthday), ROW(gift), ROW(stage), ROW(bad_weather), ROW(shelter),
	ROW(arrive), ROW(give),
	ROW(both_want), ROW(mine), ROW(broken), ROW(apart), ROW(sorry), ROW(fix),
	ROW(turns),
	ROW(boast), ROW(dare), ROW(start), ROW(overtake), ROW(plod), ROW(win),
	ROW(lesson),
	ROW(plant), ROW(wait), ROW(patience), ROW(sprout), ROW(danger),
	ROW(harvest), ROW(feast),
	ROW(pair), ROW(scene),
	{ NULL, NULL }
};

/* Beats in order. */
static const char *const plots[] = {
	"intro own lose aside meet ask_sad tell_lost offer seek aside seek_more "
	    "find thanks end",
	"intro has_food aside meet hungry share stuck cry_help aside rescue "
	    "repaid end",
	"intro friend afraid missing aside must_go on_the_way aside saved "
	    "not_afraid thanks",
	"intro aside plan needs gets aside gets_more work done proud end",
	"intro birthday gift aside stage bad_weather meet aside shelter arrive "
	    "give end",
	"intro friend both_want mine broken apart aside sorry fix aside turns",
	"intro boast dare aside start overtake aside plod win lesson end",
	"intro plant wait aside patience sprout danger aside harvest feast end",
};
enum { PLOTS = sizeof plots / sizeof *plots };

static const char *const first_plots[] = {
	"pair scene scene scene scene scene scene scene scene",
	"pair scene scene scene scene scene scene scene scene scene scene scene",
};
enum { FIRST_PLOTS = sizeof first_plots / sizeof *first_plots };

static const char *const shorts[][2] = {
	{ "H", "name.h" }, { "he", "name.h/1" }, { "him", "name.h/2" },
	{ "his", "name.h/3" }, { "F", "name.f" }, { "fe", "name.f/1" },
	{ "fim", "name.f/2" }, { "fis", "name.f/3" }, { NULL, NULL }
};

/* ==== telling ==== */

/* What a list's x is in this story. */
struct bound {
	char key[KEY_MAX];	/* "place.p" */
	const struct list *list;
	int entry;
};

struct teller {
	struct rng rng;
	struct str *out;
	struct bound bound[BOUND_MAX];
	int n;
	bool capital;		/* the next letter is one */
	double bits;		/* of the choices so far */
};

/* What to tell: the stories, or a first reader. */
struct book {
	const char *const *plot;
	int plots;
	uint64_t seed;
};
static const struct book story_book = { plots, PLOTS, SEED };
static const struct book first_book = { first_plots, FIRST_PLOTS, SEED + 1 };

/* The grammar above is part of the program: what is wrong with it ends it. */
static void
broken(const char *what, const char *where)
{
	fprintf(stderr, "tell_stories: %s: %s\n", what, where);
	exit(1);
}

static const struct list *
list_find(const char *name, size_t n)
{
	for (const struct list *l = lists; l->name != NULL; l++)
		if (strlen(l->name) == n && memcmp(l->name, name, n) == 0)
			return l;
	broken("no such list", name);
	return NULL;
}

static int
list_length(const struct list *l)
{
	int n = 0;

	while (l->entry[n] != NULL)
		n++;
	return n;
}

static bool
is_taken(const struct teller *t, const struct list *l, int entry)
{
	for (int i = 0; i < t->n; i++)
		if (t->bound[i].list == l && t->bound[i].entry == entry)
			return true;
	return false;
}

static int
draw(struct teller *t, int n)
{
	t->bits += log2(n);
	return (int)rng_below(&t->rng, (uint64_t)n);
}

/* One of those that no x of the story is. */
static int
draw_free(struct teller *t, const struct list *l)
{
	int n = list_length(l), left = 0, pick, i;

	for (i = 0; i < n; i++)
		left += !is_taken(t, l, i);
	if (left == 0)
		broken("all are taken", l->name);
	pick = draw(t, left);
	for (i = 0; is_taken(t, l, i) || pick-- > 0; i++)
		;
	return i;
}

/* The entry that "list" or "list.x" means. */
static const char *
look_up(struct teller *t, const char *key)
{
	const struct list *l = list_find(key, strcspn(key, "."));
	struct bound *b;

	if (strchr(key, '.') == NULL)
		return l->entry[draw(t, list_length(l))];
	for (int i = 0; i < t->n; i++)
		if (strcmp(t->bound[i].key, key) == 0)
			return l->entry[t->bound[i].entry];
	if (t->n == BOUND_MAX)
		broken("too much is bound", key);
	b = &t->bound[t->n];
	snprintf(b->key, sizeof(b->key), "%s", key);
	b->entry = draw_free(t, l);
	b->list = l;
	t->n++;
	return l->entry[b->entry];
}

static void tell(struct teller *t, const char *s, size_t n, int depth);

/* What stands in braces. */
static void
tell_slot(struct teller *t, const char *slot, size_t n, int depth)
{
	char key[KEY_MAX];
	const char *s;
	int form = 0;

	snprintf(key, sizeof(key), "%.*s", (int)n, slot);
	for (int i = 0; shorts[i][0] != NULL; i++)
		if (strcmp(key, shorts[i][0]) == 0)
			snprintf(key, sizeof(key), "%s", shorts[i][1]);
	if (strchr(key, '/') != NULL) {
		form = atoi(strchr(key, '/') + 1);
		*strchr(key, '/') = '\0';
	}
	s = look_up(t, key);
	for (; form > 0; form--) {
		s = strchr(s, '|');
		if (s == NULL)
			broken("no such form", slot);
		s++;
	}
	tell(t, s, strcspn(s, "|"), depth + 1);
}

/* " a" before a vowel becomes " an". */
static void
fix_article(struct str *b, char next)
{
	if (b->n < 2 || strchr("aeiou", next) == NULL || b->s[b->n - 1] != ' ' ||
	    tolower((unsigned char)b->s[b->n - 2]) != 'a' ||
	    (b->n > 2 && strchr(" \"\n", b->s[b->n - 3]) == NULL))
		return;
	b->s[b->n - 1] = 'n';
	str_addc(b, ' ');
}

static void
tell(struct teller *t, const char *s, size_t n, int depth)
{
	if (depth > DEPTH_MAX)
		broken("no end", s);
	for (size_t i = 0; i < n; i++) {
		char c = s[i];

		if (c == '^') {
			t->capital = true;
		} else if (c == '{') {
			size_t k = strcspn(s + i, "}");

			tell_slot(t, s + i + 1, k - 1, depth);
			i += k;
		} else {
			fix_article(t->out, c);
			if (t->capital && isalpha((unsigned char)c)) {
				c = (char)toupper((unsigned char)c);
				t->capital = false;
			}
			str_addc(t->out, c);
		}
	}
}

static void
tell_story(struct teller *t, const struct book *book, uint64_t number,
    struct str *out)
{
	const char *plot, *next;
	size_t before;

	memset(t, 0, sizeof(*t));
	rng_seed(&t->rng, rng_derive(book->seed, number));
	t->out = out;
	str_clear(out);
	plot = book->plot[draw(t, book->plots)];
	for (; *plot != '\0'; plot = next) {
		char beat[KEY_MAX];
		size_t n = strcspn(plot, " ");

		snprintf(beat, sizeof(beat), "{%.*s}", (int)n, plot);
		before = out->n;
		t->capital = true;
		tell(t, beat, n + 2, 0);
		if (out->n > before)
			str_addc(out, ' ');
		next = plot + n + strspn(plot + n, " ");
	}
	out->s[out->n - 1] = '\n';
}

/* ==== files ==== */

struct told {
	uint64_t *seen;		/* hashes of the stories so far */
	int n;
	uint64_t number;	/* of the next one */
};

static bool
is_new(struct told *d, const struct str *story)
{
	uint64_t h = hash_bytes(story->s, story->n, 0);

	for (int i = 0; i < d->n; i++)
		if (d->seen[i] == h)
			return false;
	d->seen[d->n++] = h;
	return true;
}

static bool
write_set(struct told *d, const struct book *book, const char *path,
    int count, double *bits, size_t *bytes)
{
	struct str text = STR_INIT, story = STR_INIT;
	struct pare_err err = { 0 };
	struct teller t;
	bool fine;

	*bits = 0;
	for (int i = 0; i < count;) {
		tell_story(&t, book, d->number++, &story);
		if (!is_new(d, &story))
			continue;
		str_addn(&text, story.s, story.n);
		*bits += t.bits;
		i++;
	}
	*bytes = text.n;
	fine = io_write(path, text.s, text.n, &err) == PARE_OK;
	if (!fine)
		fprintf(stderr, "tell_stories: %s\n", err.msg);
	str_free(&text);
	str_free(&story);
	return fine;
}

static bool
write_stories(struct told *d, const char *folder)
{
	static const struct { const char *name; int count; } sets[] = {
		{ "stories.train.txt", TRAIN }, { "stories.calib.txt", CALIB },
		{ "stories.test.txt", TEST }
	};
	bool fine = true;
	size_t bytes = 0;
	double bits = 0;

	for (int i = 0; i < 3 && fine; i++) {
		char *path = io_join(folder, sets[i].name);

		fine = write_set(d, &story_book, path, sets[i].count, &bits,
		    &bytes);
		free(path);
	}
	if (fine)
		printf("the choices of the test stories: %.3f bits a byte\n",
		    bits / (double)bytes);
	return fine;
}

int
main(int argc, char **argv)
{
	bool first = argc == 3 && strcmp(argv[1], "--first") == 0, fine;
	struct told d = { 0 };
	size_t bytes;
	double bits;

	if (argc != 2 && !first) {
		fprintf(stderr, "usage: tell_stories FOLDER, or "
		    "tell_stories --first FILE\n");
		return 2;
	}
	d.seen = xcalloc(STORIES, sizeof(*d.seen));
	fine = first ? write_set(&d, &first_book, argv[2], FIRST, &bits,
	    &bytes) : write_stories(&d, argv[1]);
	free(d.seen);
	return fine ? 0 : 1;
}
