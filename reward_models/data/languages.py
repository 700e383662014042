"""Names and codes of languages, brought into one form: the ISO 639-1 code.

Data sets call a language ``en``, ``EN``, ``eng``, ``en-US``, ``zh_Hans_CN``, ``eng_Latn`` or ``English``. Everything
here works with ``en``, so that each of these names is read by the same function, and a name it does not know is an
error: a row whose language is not understood would otherwise get no language reward, and nobody would notice.
"""

from __future__ import annotations

import functools
import re

from reward_models.data.records import RecordError

# ISO 639-1 code, ISO 639-2 and 639-3 codes (also of the main member of a group of languages): names. Norwegian Bokmål
# (nb) is read as Norwegian (no), Cantonese (yue) as Chinese (zh).
TABLE = """
aa aar: afar; ab abk: abkhazian; ae ave: avestan; af afr: afrikaans; ak aka: akan; am amh: amharic;
an arg: aragonese; ar ara arb arz: arabic, العربية; as asm: assamese; av ava: avaric; ay aym: aymara;
az aze azj: azerbaijani, azərbaycan dili, azərbaycanca; ba bak: bashkir; be bel: belarusian, беларуская;
bg bul: bulgarian, български; bi bis: bislama; bm bam: bambara; bn ben: bengali, bangla, বাংলা;
bo bod tib: tibetan; br bre: breton; bs bos: bosnian, bosanski; ca cat: catalan, valencian, català;
ce che: chechen; ch cha: chamorro; co cos: corsican; cr cre: cree; cs ces cze: czech, čeština;
cu chu: church slavic, old slavonic, church slavonic, old bulgarian, old church slavonic; cv chv: chuvash;
cy cym wel: welsh, cymraeg; da dan: danish, dansk; de deu ger: german, deutsch;
dv div: divehi, dhivehi, maldivian; dz dzo: dzongkha; ee ewe: ewe; el ell gre: greek, ελληνικά;
en eng: english; eo epo: esperanto; es spa: spanish, castilian, español; et est ekk: estonian, eesti;
eu eus baq: basque, euskara; fa fas per pes prs: persian, فارسی, farsi; ff ful: fulah; fi fin: finnish, suomi;
fj fij: fijian; fo fao: faroese; fr fra fre: french, français; fy fry: western frisian, frisian;
ga gle: irish, gaeilge; gd gla: gaelic, scottish gaelic; gl glg: galician, galego; gn grn: guarani;
gu guj: gujarati, ગુજરાતી; gv glv: manx; ha hau: hausa; he heb iw: hebrew, עברית; hi hin: hindi, हिन्दी, हिंदी;
ho hmo: hiri motu; hr hrv: croatian, hrvatski; ht hat: haitian, haitian creole; hu hun: hungarian, magyar;
hy hye arm: armenian, հայերեն; hz her: herero; ia ina: interlingua; id ind in: indonesian, bahasa indonesia;
ie ile: interlingue, occidental; ig ibo: igbo; ii iii: sichuan yi, nuosu; ik ipk: inupiaq; io ido: ido;
is isl ice: icelandic, íslenska; it ita: italian, italiano; iu iku: inuktitut; ja jpn: japanese, 日本語;
jv jav: javanese; ka kat geo: georgian, ქართული; kg kon: kongo; ki kik: kikuyu, gikuyu;
kj kua: kuanyama, kwanyama; kk kaz: kazakh, қазақша; kl kal: kalaallisut, greenlandic;
km khm: central khmer, khmer, ខ្មែរ; kn kan: kannada, ಕನ್ನಡ; ko kor: korean, 한국어; kr kau: kanuri;
ks kas: kashmiri; ku kur kmr ckb: kurdish; kv kom: komi; kw cor: cornish; ky kir: kirghiz, kyrgyz, кыргызча;
la lat: latin; lb ltz: luxembourgish, letzeburgesch; lg lug: ganda; li lim: limburgan, limburger, limburgish;
ln lin: lingala; lo lao: lao, laotian, ລາວ; lt lit: lithuanian, lietuvių; lu lub: luba-katanga;
lv lav lvs: latvian, latviešu; mg mlg plt: malagasy; mh mah: marshallese; mi mri mao: maori;
mk mkd mac: macedonian, македонски; ml mal: malayalam, മലയാളം; mn mon khk: mongolian, монгол;
mr mar: marathi, मराठी; ms msa may zsm zlm: malay, bahasa melayu; mt mlt: maltese;
my mya bur: burmese, myanmar, မြန်မာဘာသာ; na nau: nauru; nd nde: north ndebele; ne nep npi: nepali, नेपाली;
ng ndo: ndonga; nl nld dut: dutch, flemish, nederlands; nn nno: norwegian nynorsk, nynorsk;
no nor nob nb: norwegian, norsk, norwegian bokmål, bokmål; nr nbl: south ndebele; nv nav: navajo, navaho;
ny nya: chichewa, chewa, nyanja; oc oci: occitan, provençal; oj oji: ojibwa; om orm: oromo;
or ori ory: oriya, odia; os oss: ossetian, ossetic; pa pan: panjabi, punjabi, ਪੰਜਾਬੀ; pi pli: pali;
pl pol: polish, polski; ps pus: pushto, pashto, پښتو; pt por: portuguese, português; qu que: quechua;
rm roh: romansh; rn run: rundi; ro ron rum: romanian, moldavian, moldovan, română; ru rus: russian, русский;
rw kin: kinyarwanda; sa san: sanskrit; sc srd: sardinian; sd snd: sindhi; se sme: northern sami; sg sag: sango;
si sin: sinhala, sinhalese; sk slk slo: slovak, slovenčina; sl slv: slovenian, slovenščina, slovene;
sm smo: samoan; sn sna: shona; so som: somali; sq sqi alb als: albanian, shqip;
sr srp: serbian, српски, srpski; ss ssw: swati; st sot: sotho; su sun: sundanese; sv swe: swedish, svenska;
sw swa swh: swahili, kiswahili; ta tam: tamil, தமிழ்; te tel: telugu, తెలుగు; tg tgk: tajik;
th tha: thai, ไทย, ภาษาไทย; ti tir: tigrinya; tk tuk: turkmen; tl tgl fil: tagalog, filipino; tn tsn: tswana;
to ton: tonga; tr tur: turkish, türkçe; ts tso: tsonga; tt tat: tatar; tw twi: twi; ty tah: tahitian;
ug uig: uighur, uyghur; uk ukr: ukrainian, українська; ur urd: urdu, اردو; uz uzb uzn: uzbek, oʻzbekcha;
ve ven: venda; vi vie: vietnamese, tiếng việt; vo vol: volapük; wa wln: walloon; wo wol: wolof; xh xho: xhosa;
yi yid ydd: yiddish; yo yor: yoruba; za zha: zhuang, chuang;
zh zho chi cmn yue wuu: chinese, mandarin, 中文, 汉语, 漢語, 普通话, cantonese; zu zul: zulu
"""
SUBTAGS = re.compile(r"(?:-[a-z0-9]{2,8}){1,4}")  # script, region, variant


def language_code(name: object) -> str:
    """Return the ISO 639-1 code of the language that ``name`` names, in lower case.

    Args:
        name: a code of ISO 639-1, 639-2 or 639-3, with or without script and region (``zh-CN``, ``pt_BR``,
            ``eng_Latn``), or the language's name in English or, for the larger languages, in itself. Case does not
            matter.

    Raises:
        RecordError: the name is not text, or no language of the table has it.
    """
    if not isinstance(name, str):
        raise RecordError(f"the language is {type(name).__name__}, not text; write an ISO 639-1 code such as en")
    wanted = " ".join(name.casefold().split())
    known = _codes()
    if wanted in known:
        return known[wanted]
    if bare := re.sub(r"\s*\([^()]{0,40}\)$", "", wanted):  # Chinese (Simplified)
        first, dash, rest = bare.replace("_", "-").partition("-")
        code = known.get(first if dash else bare)
        if code is not None and (not dash or (len(first) < 4 and SUBTAGS.fullmatch(dash + rest))):
            return code
    raise RecordError(f"no language is called {name[:40]!r}; write an ISO 639-1 code such as en, zh or fr")


@functools.cache
def _codes() -> dict[str, str]:
    """Every code and name of the table, folded, with the ISO 639-1 code it stands for."""
    found: dict[str, str] = {}
    for entry in TABLE.replace("\n", " ").split(";"):
        codes, _, names = entry.partition(":")
        code, *others = codes.split()
        for name in (code, *others, *(n.strip().casefold() for n in names.split(","))):
            if found.setdefault(name, code) != code:
                raise ValueError(f"the table gives {name!r} to {found[name]} and to {code}")
    return found
