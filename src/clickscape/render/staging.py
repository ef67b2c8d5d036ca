"""How a photographer would show a product in a scene: standing, lying, leaning or hanging; from its words and outline.

Words say what nobody can see (a T-shirt has a broad hem and does not stand on it); the outline says what nobody wrote
(a hammer whose mass lies beside its foot falls over). What cannot stand lies on the surface, seen from above. The
product's pixels never change, so what was photographed from above is never shown from the front.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from clickscape.render.nouns import head_of, word_set
from clickscape.render.physical_size import physical_size
from clickscape.render.scene import WALLED, Scene
from clickscape.render.shading import KeySide
from clickscape.render.silhouette import Silhouette
from clickscape.types import Product

Pose = Literal["stands", "lies", "leans", "hangs"]
View = Literal["front", "above"]
Kind = Literal["garment", "cloth", "picture", "sheet", "book", "pad", "jewel", "shoe", "lamp"]

_NOUNS: dict[Kind, frozenset[str]] = {
    "garment": word_set(
        "t-shirt, tshirt, tee, tee shirt, shirt, polo, polo shirt, blouse, top, tank top, tank, crop top, tunic, "
        "hoodie, hoody, sweatshirt, sweater, jumper, pullover, cardigan, fleece, jersey, jacket, coat, parka, anorak, "
        "blazer, suit, vest, gilet, waistcoat, dress, gown, skirt, trousers, trouser, pants, jeans, jean, shorts, "
        "short, leggings, legging, joggers, jogger, chinos, pajamas, pyjamas, robe, bathrobe, kimono, nightgown, "
        "nightshirt, overalls, dungarees, jumpsuit, romper, bodysuit, onesie, swimsuit, bikini, bra, underwear, "
        "boxers, briefs, apron, poncho, cape, uniform, tracksuit, long sleeve, henley, turtleneck, outerwear, "
        "nightwear, sleepwear"
    ),
    "cloth": word_set(
        "scarf, shawl, stole, bandana, handkerchief, glove, mitten, sock, stocking, tights, tie, necktie, bow tie, "
        "belt, towel, beach towel, blanket, throw, tablecloth, napkin, tea towel, bed sheet, rug, mat, yoga mat, "
        "carpet, doormat, bath mat, flag, pillowcase, cable, charging cable, rope, jump rope, skipping rope, lanyard, "
        "tote, tote bag, neck warmer, neck gaiter, gaiter, snood, balaclava"
    ),
    "picture": word_set(
        "poster, print, art print, canvas print, painting, wall art, wall clock, wall mirror, picture frame, "
        "photo frame, frame, tapestry, banner, pennant, wall sign"
    ),
    "sheet": word_set(
        "sticker, decal, card, gift card, postcard, greeting card, leaflet, patch, bookmark, placemat, mouse pad, "
        "mousepad, tablet, e-reader, ereader, cutlery, fork, spoon"
    ),
    "book": word_set(
        "book, paperback, hardcover, hardback, novel, notebook, magazine, journal, planner, diary, comic, album, "
        "vinyl, cookbook, handbook, sketchbook"
    ),
    "pad": word_set("cushion, pillow, seat pad, floor cushion, throw pillow, bolster"),
    "jewel": word_set(
        "watch, wristwatch, wrist watch, smartwatch, bracelet, bangle, necklace, pendant, earring, ring, brooch, "
        "cufflink, chain, anklet, choker, stud, charm, watch strap, jewelry, jewellery"
    ),
    "shoe": word_set(
        "shoe, running shoe, sneaker, plimsoll, trainer, sandal, slipper, loafer, flip-flop, espadrille, moccasin, "
        "clog, ballerina, ballet flat, mule, slip-on, footwear"
    ),
    "lamp": word_set(
        "pendant lamp, pendant light, ceiling lamp, ceiling light, hanging lamp, chandelier, hanging planter, "
        "wind chime, lampshade"
    ),
}
_COVER = 0.94  # share of its box that a cover seen straight on fills; a book that stands askew fills less
_FOLDED = 0.62  # height by width below which a garment was photographed at a slant, lying before the camera
_FROM_ABOVE = 0.95  # height by width from which low shoes were photographed from above
_SOLE = 0.6  # share of the width on which a shoe stands that was photographed from its side
_THIN, _THICK, _USUAL = 0.05, 0.16, 0.10


@dataclass(frozen=True, slots=True)
class Staging:
    """A product's `pose`, from where it is `seen`, and the `reason` in words.

    `on_floor`: it stands on the ground, whatever stand the scene names. `thickness`: how far it rises from what it lies
    on or hangs before, as a share of its shorter side. `key`: the side from which it was lit, where that is clear.
    `elevation`: degrees by which the camera looked down at it, where its foot says so. `slanted`: it lies, though its
    photo was not taken from straight above, so that lines on the ground would tell.
    """

    pose: Pose = "stands"
    seen: View = "front"
    reason: str = "it stands as it was photographed"
    on_floor: bool = False
    thickness: float = _USUAL
    key: KeySide | None = None
    elevation: float | None = None
    slanted: bool = False

    @property
    def needs_no_stand(self) -> bool:
        """Whether the product is on the ground itself, or hangs or leans."""
        return self.on_floor or self.seen == "above" or self.pose in ("hangs", "leans")


STANDING = Staging()


def shown(scene: Scene, staging: Staging) -> Scene:
    """Return what a picture shows of `scene`: no setting, stand or wall from above, no stand below what needs none.

    Whoever looks at the picture, a shopper or a model, knows no more than this.
    """
    if staging.seen == "above":
        return replace(scene, hidden=("setting", "stand", "palette"))
    return replace(scene, stand="floor") if staging.needs_no_stand else scene


def staging(product: Product, outline: Silhouette, scene: Scene) -> Staging:
    """Decide how `product` is shown in `scene`; the same three always give the same."""
    kind = kind_of(product)
    if kind == "garment":
        slanted = outline.aspect < _FOLDED
        return Staging("lies", "above", "a garment does not stand on its hem", thickness=_THIN, slanted=slanted)
    if kind == "lamp":
        return Staging("hangs", reason="it hangs from the ceiling")
    if physical_size(product) == "large":
        return Staging(reason="furniture and vehicles stand on the floor", on_floor=True)
    if kind == "picture":
        reason = "what belongs on a wall hangs there"
        if scene.setting in WALLED:
            return Staging("hangs", reason=reason, thickness=_THIN)
        return Staging("lies", "above", reason, thickness=_THIN)
    if kind == "cloth":
        return Staging("lies", "above", "cloth and cords lie", thickness=_THIN)
    if kind == "pad":
        return Staging("lies", "above", "a cushion lies", thickness=_THICK)
    if kind == "jewel":
        return Staging("lies", "above", "watches and jewelry lie", thickness=_THIN)
    if kind == "sheet" or (kind == "book" and outline.fill >= _COVER):
        return Staging("lies", "above", "what is flat lies", thickness=_THIN)
    if kind == "shoe" and outline.aspect >= _FROM_ABOVE:
        return Staging("lies", "above", "shoes seen from above lie", thickness=_THICK)
    if kind == "shoe" and outline.foot[1] - outline.foot[0] < _SOLE:
        reason = "shoes seen at a slant lie: the set's camera looks along the ground"
        return Staging("lies", "above", reason, thickness=_THICK, slanted=True)
    if not outline.stable:
        return Staging("lies", "above", "it would fall over: its mass is not above its foot")
    return STANDING


def kind_of(product: Product) -> Kind | None:
    """What the words of a product say that it is: its title's head noun, then its categories from fine to coarse."""
    for text in (product.title, *reversed(product.category)):
        for form in head_of(text).forms:
            for kind, nouns in _NOUNS.items():
                if form in nouns:
                    return kind
    return None
