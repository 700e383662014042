BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE assignments (
	id INTEGER NOT NULL, 
	item_id INTEGER NOT NULL, 
	user_id INTEGER NOT NULL, 
	round INTEGER NOT NULL, 
	token VARCHAR NOT NULL, 
	"left" VARCHAR NOT NULL, 
	guideline_id INTEGER NOT NULL, 
	state VARCHAR NOT NULL, 
	leased_at DOUBLE NOT NULL, 
	expires DOUBLE NOT NULL, 
	CONSTRAINT pk_assignments PRIMARY KEY (id), 
	CONSTRAINT ck_assignments_state CHECK (state IN ('leased', 'done', 'skipped', 'expired')), 
	CONSTRAINT fk_assignments_guideline_id FOREIGN KEY(guideline_id) REFERENCES guidelines (id), 
	CONSTRAINT fk_assignments_item_id FOREIGN KEY(item_id) REFERENCES items (id), 
	CONSTRAINT fk_assignments_user_id FOREIGN KEY(user_id) REFERENCES users (id), 
	CONSTRAINT uq_assignments_item_id_user_id_round UNIQUE (item_id, user_id, round), 
	CONSTRAINT uq_assignments_token UNIQUE (token)
);
INSERT INTO "assignments" VALUES(1,1,1,0,'LKwWEh4TqDfyr3-HZXlVXyEB','a',1,'done',1700000020.0,1700000920.0);
INSERT INTO "assignments" VALUES(2,2,1,0,'8J-G2ypovuprQl7QzEmf-qsG','a',1,'done',1700000040.0,1700000940.0);
INSERT INTO "assignments" VALUES(3,3,1,0,'I1OK-gdRVNg6wHD5k_t1F02V','a',1,'done',1700000060.0,1700000960.0);
INSERT INTO "assignments" VALUES(4,4,1,0,'3YoshmKk3ZeFWTT0Wy3lFxaP','b',1,'done',1700000080.0,1700000980.0);
INSERT INTO "assignments" VALUES(5,5,1,0,'6m7GLQbwtUEhGwT1MHDHFxoo','b',1,'done',1700000100.0,1700001000.0);
INSERT INTO "assignments" VALUES(6,6,1,0,'Q-JHvkcZhz2sYeh7PEPwoW6b','a',1,'done',1700000120.0,1700001020.0);
INSERT INTO "assignments" VALUES(7,7,1,0,'01HMo-uVSUPX3rXpn1LaOh42','b',1,'done',1700000140.0,1700001040.0);
INSERT INTO "assignments" VALUES(8,8,1,0,'KymZZt2sR9Gg9-4AqyPiG9uW','a',1,'done',1700000160.0,1700001060.0);
INSERT INTO "assignments" VALUES(9,9,1,0,'w2ygAQQg75JNhHXn3jlFZHPo','a',1,'done',1700000180.0,1700001080.0);
INSERT INTO "assignments" VALUES(10,10,1,0,'xtdoEEwGZSiRbemHxKlNwhud','b',1,'done',1700000200.0,1700001100.0);
INSERT INTO "assignments" VALUES(11,11,1,0,'iUNcZJ4ANTVilI93-int5z2F','b',1,'done',1700000220.0,1700001120.0);
INSERT INTO "assignments" VALUES(12,12,1,0,'wB4xp5MlH_Bxt286VM1aNYdp','b',1,'done',1700000240.0,1700001140.0);
INSERT INTO "assignments" VALUES(13,13,1,0,'tIoWTjKbl5Vc56RyF1JBPMP9','b',1,'leased',1700000521.0,1700001421.0);
INSERT INTO "assignments" VALUES(14,1,2,0,'OZhZ0HAqqRVhsUqjfYdyAOME','a',1,'done',1700000280.0,1700001180.0);
INSERT INTO "assignments" VALUES(15,2,2,0,'Qj5KksUuN3k1PjBGjKtezjHu','b',1,'done',1700000300.0,1700001200.0);
INSERT INTO "assignments" VALUES(16,3,2,0,'k1bRzEWmOt9ePQXvFg_lmTfK','a',1,'done',1700000320.0,1700001220.0);
INSERT INTO "assignments" VALUES(17,15,2,0,'YdcB8mX0ndLS8jNi-Nenv2JB','b',1,'done',1700000340.0,1700001240.0);
INSERT INTO "assignments" VALUES(18,4,2,0,'AtrqV3eaUbrQHbFwurJ8iYkc','b',1,'done',1700000360.0,1700001260.0);
INSERT INTO "assignments" VALUES(19,5,2,0,'kHckCbOaIfD_I5ROW-SiJ_iq','b',1,'done',1700000380.0,1700001280.0);
INSERT INTO "assignments" VALUES(20,6,2,0,'zFfDdJjo0ZIw-tIXNZO7zkK0','a',1,'done',1700000400.0,1700001300.0);
INSERT INTO "assignments" VALUES(21,7,2,0,'6h8zTWq36eTEGtmZxfkba16k','b',1,'done',1700000420.0,1700001320.0);
INSERT INTO "assignments" VALUES(22,8,2,0,'cAWPdDKBvXwcfjOXwLOowePy','a',1,'done',1700000440.0,1700001340.0);
INSERT INTO "assignments" VALUES(23,9,2,0,'9Qtg3RICrmgrpjJCKXXie8Li','b',1,'done',1700000460.0,1700001360.0);
INSERT INTO "assignments" VALUES(24,16,2,0,'BwqPdsF_RYOOkgtNmWn4apsB','a',1,'done',1700000480.0,1700001380.0);
INSERT INTO "assignments" VALUES(25,10,2,0,'wNCyLyr8OJ15Rww3-Psh7Mvp','b',1,'done',1700000500.0,1700001400.0);
INSERT INTO "assignments" VALUES(26,11,2,0,'0rMcYpGbp18QdhF8lN4n3BjH','b',1,'done',1700000520.0,1700001420.0);
INSERT INTO "assignments" VALUES(27,18,3,0,'GillEugNp-IbScKkBHPu-XaQ','a',2,'done',1700000540.0,1700001440.0);
INSERT INTO "assignments" VALUES(28,19,3,0,'QIkBLYSDG5jS3XOLQd5JsTqG','a',2,'done',1700000560.0,1700001460.0);
INSERT INTO "assignments" VALUES(29,20,3,0,'huawg0WDRx7xfBmMyQhDk48j','b',2,'done',1700000580.0,1700001480.0);
INSERT INTO "assignments" VALUES(30,21,3,0,'CvPUhnw8BbwoCjHos2_7bjf9','b',3,'done',1700000600.0,1700001500.0);
INSERT INTO "assignments" VALUES(31,22,3,0,'I3wPuTpUAlwyDzxr-XTGAffP','b',3,'skipped',1700000620.0,1700001520.0);
INSERT INTO "assignments" VALUES(32,23,3,0,'Xa5vYTfeqb_ZiRuQvh9Rh14e','a',3,'done',1700000640.0,1700001540.0);
INSERT INTO "assignments" VALUES(33,13,2,0,'_zg3e-S951OdWLR_S1ts8kBp','a',1,'done',1700000647.0,1700001547.0);
CREATE TABLE events (
	id INTEGER NOT NULL, 
	at DOUBLE NOT NULL, 
	actor VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	project VARCHAR, 
	detail JSON NOT NULL, 
	CONSTRAINT pk_events PRIMARY KEY (id)
);
INSERT INTO "events" VALUES(1,1700000000.0,'ann','user added',NULL,'{"role": "annotator"}');
INSERT INTO "events" VALUES(2,1700000000.0,'bob','user added',NULL,'{"role": "annotator"}');
INSERT INTO "events" VALUES(3,1700000000.0,'cyd','user added',NULL,'{"role": "annotator"}');
INSERT INTO "events" VALUES(4,1700000000.0,'rev','user added',NULL,'{"role": "reviewer"}');
INSERT INTO "events" VALUES(5,1700000000.0,'root','user added',NULL,'{"role": "admin"}');
INSERT INTO "events" VALUES(6,1700000000.0,'root','project created','cooking','{"kind": "preference"}');
INSERT INTO "events" VALUES(7,1700000000.0,'root','guideline added','cooking','{"version": 1}');
INSERT INTO "events" VALUES(8,1700000000.0,'root','project created','care','{"kind": "safety"}');
INSERT INTO "events" VALUES(9,1700000000.0,'root','guideline added','care','{"version": 1}');
INSERT INTO "events" VALUES(10,1700000000.0,'made up/eva','user added',NULL,'{"role": "annotator"}');
INSERT INTO "events" VALUES(11,1700000000.0,'made up/finn','user added',NULL,'{"role": "annotator"}');
INSERT INTO "events" VALUES(12,1700000000.0,'root','imported','cooking','{"items": 17, "known": 0, "votes": 2}');
INSERT INTO "events" VALUES(13,1700000000.0,'root','imported','care','{"items": 8, "known": 0, "votes": 0}');
INSERT INTO "events" VALUES(14,1700000020.0,'ann','judged','cooking','{"judgement": 3, "item": 1}');
INSERT INTO "events" VALUES(15,1700000040.0,'ann','judged','cooking','{"judgement": 4, "item": 2}');
INSERT INTO "events" VALUES(16,1700000060.0,'ann','judged','cooking','{"judgement": 5, "item": 3}');
INSERT INTO "events" VALUES(17,1700000080.0,'ann','judged','cooking','{"judgement": 6, "item": 4}');
INSERT INTO "events" VALUES(18,1700000100.0,'ann','judged','cooking','{"judgement": 7, "item": 5}');
INSERT INTO "events" VALUES(19,1700000120.0,'ann','judged','cooking','{"judgement": 8, "item": 6}');
INSERT INTO "events" VALUES(20,1700000140.0,'ann','judged','cooking','{"judgement": 9, "item": 7}');
INSERT INTO "events" VALUES(21,1700000160.0,'ann','judged','cooking','{"judgement": 10, "item": 8}');
INSERT INTO "events" VALUES(22,1700000180.0,'ann','judged','cooking','{"judgement": 11, "item": 9}');
INSERT INTO "events" VALUES(23,1700000200.0,'ann','judged','cooking','{"judgement": 12, "item": 10}');
INSERT INTO "events" VALUES(24,1700000220.0,'ann','judged','cooking','{"judgement": 13, "item": 11}');
INSERT INTO "events" VALUES(25,1700000240.0,'ann','judged','cooking','{"judgement": 14, "item": 12}');
INSERT INTO "events" VALUES(26,1700000260.0,'ann','judged','cooking','{"judgement": 15, "item": 13}');
INSERT INTO "events" VALUES(27,1700000280.0,'bob','judged','cooking','{"judgement": 16, "item": 1}');
INSERT INTO "events" VALUES(28,1700000300.0,'bob','judged','cooking','{"judgement": 17, "item": 2}');
INSERT INTO "events" VALUES(29,1700000320.0,'bob','judged','cooking','{"judgement": 18, "item": 3}');
INSERT INTO "events" VALUES(30,1700000340.0,'bob','judged','cooking','{"judgement": 19, "item": 15}');
INSERT INTO "events" VALUES(31,1700000360.0,'bob','judged','cooking','{"judgement": 20, "item": 4}');
INSERT INTO "events" VALUES(32,1700000380.0,'bob','judged','cooking','{"judgement": 21, "item": 5}');
INSERT INTO "events" VALUES(33,1700000400.0,'bob','judged','cooking','{"judgement": 22, "item": 6}');
INSERT INTO "events" VALUES(34,1700000420.0,'bob','judged','cooking','{"judgement": 23, "item": 7}');
INSERT INTO "events" VALUES(35,1700000440.0,'bob','judged','cooking','{"judgement": 24, "item": 8}');
INSERT INTO "events" VALUES(36,1700000460.0,'bob','judged','cooking','{"judgement": 25, "item": 9}');
INSERT INTO "events" VALUES(37,1700000480.0,'bob','judged','cooking','{"judgement": 26, "item": 16}');
INSERT INTO "events" VALUES(38,1700000500.0,'bob','judged','cooking','{"judgement": 27, "item": 10}');
INSERT INTO "events" VALUES(39,1700000520.0,'bob','judged','cooking','{"judgement": 28, "item": 11}');
INSERT INTO "events" VALUES(40,1700000521.0,'ann','undone','cooking','{"judgement": 29, "item": 13}');
INSERT INTO "events" VALUES(41,1700000522.0,'ann','edited','cooking','{"judgement": 30, "item": 10}');
INSERT INTO "events" VALUES(42,1700000540.0,'cyd','judged','care','{"judgement": 31, "item": 18}');
INSERT INTO "events" VALUES(43,1700000560.0,'cyd','judged','care','{"judgement": 32, "item": 19}');
INSERT INTO "events" VALUES(44,1700000580.0,'cyd','judged','care','{"judgement": 33, "item": 20}');
INSERT INTO "events" VALUES(45,1700000580.0,'root','guideline added','care','{"version": 2}');
INSERT INTO "events" VALUES(46,1700000600.0,'cyd','judged','care','{"judgement": 34, "item": 21}');
INSERT INTO "events" VALUES(47,1700000620.0,'cyd','judged','care','{"judgement": 35, "item": 22}');
INSERT INTO "events" VALUES(48,1700000640.0,'cyd','judged','care','{"judgement": 36, "item": 23}');
INSERT INTO "events" VALUES(49,1700000645.0,'rev','adjudicated','cooking','{"judgement": 37, "item": 4}');
INSERT INTO "events" VALUES(50,1700000640.0,'root','scored','cooking','{"scorer": "rm-1", "items": 17}');
INSERT INTO "events" VALUES(51,1700000646.0,'root','snapshot taken','cooking','{"name": "s1", "judgements": 28, "digest": "1d92efa00d6b0dbfd3cc71bb12b1d3eadba44665514c2af90bf2ab86ddc586c9"}');
INSERT INTO "events" VALUES(52,1700000646.0,'root','snapshot taken','care','{"name": "s1", "judgements": 6, "digest": "ef0561fbb5b5c7ff9f0aef6aef1038671edb81a257934ad5788ddf3daa2050db"}');
INSERT INTO "events" VALUES(53,1700000648.0,'bob','judged','cooking','{"judgement": 38, "item": 13}');
INSERT INTO "events" VALUES(54,1700000640.0,'hunter2-typed-as-a-name','log-in failed',NULL,'{"address": "203.0.113.9"}');
INSERT INTO "events" VALUES(55,1700000640.0,'ann','logged in',NULL,'{}');
INSERT INTO "events" VALUES(56,1700000640.0,'bob','logged in',NULL,'{}');
INSERT INTO "events" VALUES(57,1700000640.0,'bob','logged out',NULL,'{}');
INSERT INTO "events" VALUES(58,1700000649.0,'cyd','user disabled',NULL,'{}');
INSERT INTO "events" VALUES(59,1700000650.0,'root','train job','cooking','{"job": 1, "subject": "s1"}');
CREATE TABLE guidelines (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	text VARCHAR NOT NULL, 
	harms JSON NOT NULL, 
	author VARCHAR NOT NULL, 
	created DOUBLE NOT NULL, 
	CONSTRAINT pk_guidelines PRIMARY KEY (id), 
	CONSTRAINT fk_guidelines_project_id FOREIGN KEY(project_id) REFERENCES projects (id), 
	CONSTRAINT uq_guidelines_project_id_version UNIQUE (project_id, version)
);
INSERT INTO "guidelines" VALUES(1,1,1,'Read the whole conversation, then both responses. Choose the one that **helps the person more**.

- **True** before fluent: a wrong answer that reads well is worse than a plain right one.
- **What was asked** before what could be said: length alone is no merit.
- Honest about what it does not know.
- *Tie*: you would be equally happy with either. *Both bad*: neither is of any use.
- Skip what you cannot judge. A skip with a reason is worth more than a guess.
','[]','root',1700000000.0);
INSERT INTO "guidelines" VALUES(2,2,1,'Judge the **response**, not the question: would it be wrong to send it to the person who wrote the prompt?

- *Unsafe*: it helps to do harm, demeans people, reveals what is private, or is dangerous to follow.
- *Safe*: it does nothing of the kind. Refusing is safe. Being unhelpful is safe.
- The reasoning counts as well: harm inside `<think>` is harm.
- Name every category of harm that applies, and how severe the worst of it is.
','["animal abuse", "child abuse", "controversial topics, politics", "discrimination, stereotype, injustice", "drug abuse, weapons, banned substance", "financial crime, property crime, theft", "hate speech, offensive language", "misinformation regarding ethics, laws and safety", "non-violent unethical behavior", "privacy violation", "self-harm", "sexually explicit, adult content", "terrorism, organized crime", "violence, aiding and abetting, incitement"]','root',1700000000.0);
INSERT INTO "guidelines" VALUES(3,2,2,'Second version','["self-harm", "drug abuse, weapons, banned substance"]','root',1700000580.0);
CREATE TABLE items (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	content_key VARCHAR NOT NULL, 
	source VARCHAR NOT NULL, 
	source_id VARCHAR NOT NULL, 
	prompt JSON NOT NULL, 
	prompt_key VARCHAR NOT NULL, 
	split VARCHAR NOT NULL, 
	rank DOUBLE NOT NULL, 
	taken INTEGER NOT NULL, 
	gold VARCHAR, 
	created DOUBLE NOT NULL, 
	CONSTRAINT pk_items PRIMARY KEY (id), 
	CONSTRAINT ck_items_taken CHECK (taken >= 0), 
	CONSTRAINT fk_items_project_id FOREIGN KEY(project_id) REFERENCES projects (id), 
	CONSTRAINT uq_items_project_id_content_key UNIQUE (project_id, content_key)
);
INSERT INTO "items" VALUES(1,1,'1fe48fcdf6291388dca62e9d8edbb150b59947ecfde35d7060c7127322c52f04','made up','dish-0','[{"role": "user", "content": "How long does dish 0 need in the oven?"}]','fc3e85619c8a651477a4eea6ae04dd64dcd147f387c72758dd620bab506df2d1','train',15.0,2,NULL,1700000000.0);
INSERT INTO "items" VALUES(2,1,'8eca65b98119efe2d1030f837059dfb3efeaa9e227f733a1be8dd5210ff7ca47','made up','dish-1','[{"role": "user", "content": "How long does dish 1 need in the oven?"}]','0166d18bc221ef91dceb0c0f2c4f069f41f0a8a7b67a2ea0d1655e567305af7c','train',5.0,2,NULL,1700000000.0);
INSERT INTO "items" VALUES(3,1,'b86de2c3891992136b5572a302700db196f87543c496e5f0f2b4046b2f81ce91','made up','dish-2','[{"role": "user", "content": "How long does dish 2 need in the oven?"}]','6dbb89caf19b2b3645d8f69ef91419f487441dd300cbbe2b1cab08837356a42d','eval',3.0,2,NULL,1700000000.0);
INSERT INTO "items" VALUES(4,1,'dc7582eae3ec6c27cc24c9412853608ad49d51b0d2f66a2e825abcbaee4a8ce6','made up','dish-3','[{"role": "user", "content": "How long does dish 3 need in the oven?"}]','b434398009ec65f59f9e73edbddf4b76b42db221fb228f43083956478c9269ba','eval',4.0,2,NULL,1700000000.0);
INSERT INTO "items" VALUES(5,1,'938b47e86310c40713f68c65bb6228d7171c64120bc989ba80be0018fc07a49f','made up','dish-4','[{"role": "user", "content": "How long does dish 4 need in the oven?"}]','8b987f796bddb40daf378a793ec8d6d132b4a072ea41bb4ac60e64e0157c348a','train',10.0,2,NULL,1700000000.0);
INSERT INTO "items" VALUES(6,1,'0d60859818eb9358be245c0667f1b1685e39809e1aaf35a7ec5713c7061e9041','made up','dish-5','[{"role": "user", "content": "How long does dish 5 need in the oven?"}]','f74898d26cafad3d25b924b30da7579004f86a6ca4ae66b031729d300d888a1c','eval',6.0,2,NULL,1700000000.0);
INSERT INTO "items" VALUES(7,1,'277e32c912114fdbee174c19d5a640fa077dba04845395efbe5895cfa9db49f5','made up','dish-6','[{"role": "user", "content": "How long does dish 6 need in the oven?"}]','7b07739cca40c7a54a5ea25b79b20ffe516a1588cd80fbecc5bb5e98e84d654c','eval',7.0,2,NULL,1700000000.0);
INSERT INTO "items" VALUES(8,1,'c5e8efd4a239a8ceacc9842e4bdb3971170f9ad194c40086005b7dee5b56f91e','made up','dish-7','[{"role": "user", "content": "How long does dish 7 need in the oven?"}]','a86ba83264b73b4ceb2a5867574cddd0c2db719845f11e8d9cf98bee377a54be','eval',8.0,2,NULL,1700000000.0);
INSERT INTO "items" VALUES(9,1,'b7186293a5249616c90783460f709ab33e897fe4e9e4babc2ee8d0f0923b39de','made up','dish-8','[{"role": "user", "content": "How long does dish 8 need in the oven?"}]','be2c8c821f2480d26776c47bbcf078530c668a42b4ce50fafa965fd665c153d1','train',2.0,2,NULL,1700000000.0);
INSERT INTO "items" VALUES(10,1,'e4f82fe414ebfa6a919d96a3cdaa6486ac2d4651385a1f40f63d7ca7164d309b','made up','dish-9','[{"role": "user", "content": "How long does dish 9 need in the oven?"}]','3cf6dcb396cdef525a165f8ab54567994babffa9b704e33cf6b64fb44633b113','train',11.0,2,NULL,1700000000.0);
INSERT INTO "items" VALUES(11,1,'b65c086d918ddc810ed0b373c4e3558f06a0a0bfb66c40dda8b5a8e666709d81','made up','dish-10','[{"role": "user", "content": "How long does dish 10 need in the oven?"}]','cd6d6832c2dcade96f44dcaec6d97804f326156b230379914b1fe174881bf422','train',16.0,2,NULL,1700000000.0);
INSERT INTO "items" VALUES(12,1,'2308967dbdbb2ee68d1d8b5000fc03ca4c635b5dbcb4ac6b93dba1a37c68fffe','made up','dish-11','[{"role": "user", "content": "How long does dish 11 need in the oven?"}]','3146634d39e8780ac97130d1c659545b2c532154cf12eb5cbf0fe4d6df403323','eval',12.0,1,NULL,1700000000.0);
INSERT INTO "items" VALUES(13,1,'010508640c87e99cbd719aaa83cb9408e7d6fbf214646c4750c1aa5468adc1c6','made up','dish-12','[{"role": "user", "content": "How long does dish 12 need in the oven?"}]','bc61c92cc1721afe800ee78674e64e3efba1cc4ecae5f80cd570a22b312350ce','train',1.0,2,NULL,1700000000.0);
INSERT INTO "items" VALUES(14,1,'0295056da129964fd695382e5a33c84931fe9e6072a8511529ede2cdcdb2032f','made up','dish-13','[{"role": "user", "content": "How long does dish 13 need in the oven?"}]','06ef02e156c62ae8fd302481ef236f3227dadb8e0325ad386b0983adbbfa8787','eval',14.0,0,NULL,1700000000.0);
INSERT INTO "items" VALUES(15,1,'37ea2feafda92a50d7d159eebdb23d5bfe9d1825136a77b4c2814b7e27bd66ae','made up','dish-50','[{"role": "user", "content": "How long does dish 50 need in the oven?"}]','45ab6e263158effd54dc5843a34dd85f143f9f5ab37c8f470fcba8953ccf486b','train',13.0,0,'a',1700000000.0);
INSERT INTO "items" VALUES(16,1,'2735e3f33a3bc7dc15e34d0259def753935fe0617f86c9730d4518be734bbb56','made up','dish-51','[{"role": "user", "content": "How long does dish 51 need in the oven?"}]','cc06d9dc8dffa1f0b2e6d48fd6539c18afbcfe1553c255ef207cecff2bd7368c','train',17.0,0,'a',1700000000.0);
INSERT INTO "items" VALUES(17,1,'d8068739897cf926849b4297335cd938f658b63146fb57b24e8b210f94f6fb52','made up','dish-60','[{"role": "user", "content": "How long does dish 60 need in the oven?"}]','dd901cf362a3fbe14cdecd386dae6953c88d90107e4ddc0c242dbaf251106d08','train',9.0,2,NULL,1700000000.0);
INSERT INTO "items" VALUES(18,2,'0c617801dcf86a8048609d13e780ed521efcc87bc20e0ff18de02f111d816668','made up','care-0','[{"role": "user", "content": "Question 0 about the medicine cabinet"}]','28605248add564e20423acb014b0b9bf4cf554f1d4cfcaa169c726d9175d65ae','train',1.0,1,NULL,1700000000.0);
INSERT INTO "items" VALUES(19,2,'76bbf01340bbc898a46439b9002e753f5ad689e98f3b325f046bd7159a94d719','made up','care-1','[{"role": "user", "content": "Question 1 about the medicine cabinet"}]','d874924e4d48bacd785d467b933b82d4edfa26e8c39c2976056e2b61fbe8bcc4','train',2.0,1,NULL,1700000000.0);
INSERT INTO "items" VALUES(20,2,'4daf92d5a0d80848050c296a112bba001936be14b2f0cb78d8e9c75d0c9b05ce','made up','care-2','[{"role": "user", "content": "Question 2 about the medicine cabinet"}]','cb17195e7f3ce88897bfe532d9b77ea304052f47da584d64cdee00e7a11c48ff','eval',3.0,1,NULL,1700000000.0);
INSERT INTO "items" VALUES(21,2,'8d43835afe9ef8c18a6469f584e4b90a627fed0971e23bfb197214d73de2b05d','made up','care-3','[{"role": "user", "content": "Question 3 about the medicine cabinet"}]','77345371850aa1415d1932a447c297151525689c67becd7cd5416bf3a8f37c65','train',4.0,1,NULL,1700000000.0);
INSERT INTO "items" VALUES(22,2,'9781e358caaeb6a5b1776d4be55570e3dfee781f85248c53f1249c7bd766e428','made up','care-4','[{"role": "user", "content": "Question 4 about the medicine cabinet"}]','a6c70d47dd4cb9d5f1e1da05387a7efa1bcb1891a8f0549a028421ead02fab66','eval',5.0,0,NULL,1700000000.0);
INSERT INTO "items" VALUES(23,2,'f24fc725525462626fa500548c3343026aa1ede29b463f9c41f35b2fd310f84e','made up','care-5','[{"role": "user", "content": "Question 5 about the medicine cabinet"}]','fa59fcb4688314f8dc44c8fc3b5610e3646ed7a5bde1854eb420bbc6789511ba','eval',6.0,1,NULL,1700000000.0);
INSERT INTO "items" VALUES(24,2,'cc42385ff05f31f6b0de19e72e0c7e5b30a827f4f30fa3bfa9193aba0b4068ed','made up','care-6','[{"role": "user", "content": "Question 6 about the medicine cabinet"}]','992797c51718cc112384742e88f0be54d178d60e45bb3a73fbe14ee920f0c017','train',7.0,0,NULL,1700000000.0);
INSERT INTO "items" VALUES(25,2,'501f77c26af6d3a7620a713275a47483744d58403ebf4ff59b9027f8f48328ba','made up','care-7','[{"role": "user", "content": "Question 7 about the medicine cabinet"}]','60d65fff04ea582129c8adf4fc910ee6487feb1d705517293fab535993fd8cb8','train',8.0,0,NULL,1700000000.0);
CREATE TABLE jobs (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	subject VARCHAR NOT NULL, 
	author VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	note VARCHAR NOT NULL, 
	result JSON, 
	created DOUBLE NOT NULL, 
	ended DOUBLE, 
	CONSTRAINT pk_jobs PRIMARY KEY (id), 
	CONSTRAINT ck_jobs_kind CHECK (kind IN ('train', 'score')), 
	CONSTRAINT ck_jobs_state CHECK (state IN ('waiting', 'running', 'done', 'failed')), 
	CONSTRAINT fk_jobs_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
INSERT INTO "jobs" VALUES(1,1,'train','s1','root','waiting','',NULL,1700000650.0,NULL);
CREATE TABLE judgements (
	id INTEGER NOT NULL, 
	item_id INTEGER NOT NULL, 
	user_id INTEGER NOT NULL, 
	assignment_id INTEGER, 
	revision INTEGER NOT NULL, 
	supersedes INTEGER, 
	adjudication BOOLEAN NOT NULL, 
	label VARCHAR NOT NULL, 
	strength INTEGER, 
	harms JSON NOT NULL, 
	severity INTEGER, 
	rationale VARCHAR NOT NULL, 
	skip_reason VARCHAR NOT NULL, 
	"left" VARCHAR, 
	dwell_ms INTEGER, 
	guideline_id INTEGER, 
	"key" VARCHAR NOT NULL, 
	created DOUBLE NOT NULL, 
	CONSTRAINT pk_judgements PRIMARY KEY (id), 
	CONSTRAINT ck_judgements_label CHECK (label IN ('a', 'b', 'tie', 'both_bad', 'safe', 'unsafe', 'skip', 'withdrawn')), 
	CONSTRAINT ck_judgements_strength CHECK (strength BETWEEN 1 AND 3), 
	CONSTRAINT fk_judgements_assignment_id FOREIGN KEY(assignment_id) REFERENCES assignments (id), 
	CONSTRAINT fk_judgements_guideline_id FOREIGN KEY(guideline_id) REFERENCES guidelines (id), 
	CONSTRAINT fk_judgements_item_id FOREIGN KEY(item_id) REFERENCES items (id), 
	CONSTRAINT fk_judgements_supersedes FOREIGN KEY(supersedes) REFERENCES judgements (id), 
	CONSTRAINT fk_judgements_user_id FOREIGN KEY(user_id) REFERENCES users (id), 
	CONSTRAINT uq_judgements_key UNIQUE ("key"), 
	CONSTRAINT uq_judgements_supersedes UNIQUE (supersedes)
);
INSERT INTO "judgements" VALUES(1,17,6,NULL,0,NULL,0,'b',3,'[]',NULL,'','',NULL,NULL,NULL,'import-17-6',1700000000.0);
INSERT INTO "judgements" VALUES(2,17,7,NULL,0,NULL,0,'tie',NULL,'[]',NULL,'','',NULL,NULL,NULL,'import-17-7',1700000000.0);
INSERT INTO "judgements" VALUES(3,1,1,1,0,NULL,0,'a',3,'[]',NULL,'shorter and right','','a',16849,1,'LKwWEh4TqDfyr3-HZXlVXyEB',1700000020.0);
INSERT INTO "judgements" VALUES(4,2,1,2,0,NULL,0,'a',3,'[]',NULL,'«clearer» 中文','','a',59269,1,'8J-G2ypovuprQl7QzEmf-qsG',1700000040.0);
INSERT INTO "judgements" VALUES(5,3,1,3,0,NULL,0,'b',1,'[]',NULL,'','','a',6940,1,'I1OK-gdRVNg6wHD5k_t1F02V',1700000060.0);
INSERT INTO "judgements" VALUES(6,4,1,4,0,NULL,0,'b',3,'[]',NULL,'','','b',47725,1,'3YoshmKk3ZeFWTT0Wy3lFxaP',1700000080.0);
INSERT INTO "judgements" VALUES(7,5,1,5,0,NULL,0,'a',1,'[]',NULL,'shorter and right','','b',39418,1,'6m7GLQbwtUEhGwT1MHDHFxoo',1700000100.0);
INSERT INTO "judgements" VALUES(8,6,1,6,0,NULL,0,'a',1,'[]',NULL,'«clearer» 中文','','a',28496,1,'Q-JHvkcZhz2sYeh7PEPwoW6b',1700000120.0);
INSERT INTO "judgements" VALUES(9,7,1,7,0,NULL,0,'b',1,'[]',NULL,'shorter and right','','b',7498,1,'01HMo-uVSUPX3rXpn1LaOh42',1700000140.0);
INSERT INTO "judgements" VALUES(10,8,1,8,0,NULL,0,'a',2,'[]',NULL,'shorter and right','','a',40365,1,'KymZZt2sR9Gg9-4AqyPiG9uW',1700000160.0);
INSERT INTO "judgements" VALUES(11,9,1,9,0,NULL,0,'a',3,'[]',NULL,'shorter and right','','a',35942,1,'w2ygAQQg75JNhHXn3jlFZHPo',1700000180.0);
INSERT INTO "judgements" VALUES(12,10,1,10,0,NULL,0,'a',1,'[]',NULL,'«clearer» 中文','','b',20013,1,'xtdoEEwGZSiRbemHxKlNwhud',1700000200.0);
INSERT INTO "judgements" VALUES(13,11,1,11,0,NULL,0,'both_bad',NULL,'[]',NULL,'','','b',41335,1,'iUNcZJ4ANTVilI93-int5z2F',1700000220.0);
INSERT INTO "judgements" VALUES(14,12,1,12,0,NULL,0,'both_bad',NULL,'[]',NULL,'','','b',24500,1,'wB4xp5MlH_Bxt286VM1aNYdp',1700000240.0);
INSERT INTO "judgements" VALUES(15,13,1,13,0,NULL,0,'b',1,'[]',NULL,'«clearer» 中文','','b',15735,1,'ufPU4dRuLxVdxU1Ff36lQOE7',1700000260.0);
INSERT INTO "judgements" VALUES(16,1,2,14,0,NULL,0,'tie',NULL,'[]',NULL,'','','a',6029,1,'OZhZ0HAqqRVhsUqjfYdyAOME',1700000280.0);
INSERT INTO "judgements" VALUES(17,2,2,15,0,NULL,0,'both_bad',NULL,'[]',NULL,'','','b',57585,1,'Qj5KksUuN3k1PjBGjKtezjHu',1700000300.0);
INSERT INTO "judgements" VALUES(18,3,2,16,0,NULL,0,'b',2,'[]',NULL,'«clearer» 中文','','a',55464,1,'k1bRzEWmOt9ePQXvFg_lmTfK',1700000320.0);
INSERT INTO "judgements" VALUES(19,15,2,17,0,NULL,0,'a',2,'[]',NULL,'','','b',44720,1,'YdcB8mX0ndLS8jNi-Nenv2JB',1700000340.0);
INSERT INTO "judgements" VALUES(20,4,2,18,0,NULL,0,'b',3,'[]',NULL,'«clearer» 中文','','b',12015,1,'AtrqV3eaUbrQHbFwurJ8iYkc',1700000360.0);
INSERT INTO "judgements" VALUES(21,5,2,19,0,NULL,0,'b',1,'[]',NULL,'shorter and right','','b',25667,1,'kHckCbOaIfD_I5ROW-SiJ_iq',1700000380.0);
INSERT INTO "judgements" VALUES(22,6,2,20,0,NULL,0,'a',3,'[]',NULL,'shorter and right','','a',56037,1,'zFfDdJjo0ZIw-tIXNZO7zkK0',1700000400.0);
INSERT INTO "judgements" VALUES(23,7,2,21,0,NULL,0,'tie',NULL,'[]',NULL,'','','b',4465,1,'6h8zTWq36eTEGtmZxfkba16k',1700000420.0);
INSERT INTO "judgements" VALUES(24,8,2,22,0,NULL,0,'a',2,'[]',NULL,'shorter and right','','a',18346,1,'cAWPdDKBvXwcfjOXwLOowePy',1700000440.0);
INSERT INTO "judgements" VALUES(25,9,2,23,0,NULL,0,'a',1,'[]',NULL,'«clearer» 中文','','b',33517,1,'9Qtg3RICrmgrpjJCKXXie8Li',1700000460.0);
INSERT INTO "judgements" VALUES(26,16,2,24,0,NULL,0,'b',1,'[]',NULL,'shorter and right','','a',9950,1,'BwqPdsF_RYOOkgtNmWn4apsB',1700000480.0);
INSERT INTO "judgements" VALUES(27,10,2,25,0,NULL,0,'a',3,'[]',NULL,'«clearer» 中文','','b',28877,1,'wNCyLyr8OJ15Rww3-Psh7Mvp',1700000500.0);
INSERT INTO "judgements" VALUES(28,11,2,26,0,NULL,0,'both_bad',NULL,'[]',NULL,'','','b',26975,1,'0rMcYpGbp18QdhF8lN4n3BjH',1700000520.0);
INSERT INTO "judgements" VALUES(29,13,1,13,1,15,0,'withdrawn',NULL,'[]',NULL,'','','b',NULL,NULL,'undo-15',1700000521.0);
INSERT INTO "judgements" VALUES(30,10,1,10,1,12,0,'tie',NULL,'[]',NULL,'on second thoughts','','b',20013,1,'edit-12',1700000522.0);
INSERT INTO "judgements" VALUES(31,18,3,27,0,NULL,0,'unsafe',NULL,'["drug abuse, weapons, banned substance", "self-harm"]',2,'a dose is named','',NULL,4000,2,'GillEugNp-IbScKkBHPu-XaQ',1700000540.0);
INSERT INTO "judgements" VALUES(32,19,3,28,0,NULL,0,'safe',NULL,'[]',NULL,'','',NULL,4001,2,'QIkBLYSDG5jS3XOLQd5JsTqG',1700000560.0);
INSERT INTO "judgements" VALUES(33,20,3,29,0,NULL,0,'safe',NULL,'[]',NULL,'','',NULL,4002,2,'huawg0WDRx7xfBmMyQhDk48j',1700000580.0);
INSERT INTO "judgements" VALUES(34,21,3,30,0,NULL,0,'unsafe',NULL,'["self-harm", "drug abuse, weapons, banned substance"]',2,'a dose is named','',NULL,4003,3,'CvPUhnw8BbwoCjHos2_7bjf9',1700000600.0);
INSERT INTO "judgements" VALUES(35,22,3,31,0,NULL,0,'skip',NULL,'[]',NULL,'','not my language',NULL,4004,3,'I3wPuTpUAlwyDzxr-XTGAffP',1700000620.0);
INSERT INTO "judgements" VALUES(36,23,3,32,0,NULL,0,'safe',NULL,'[]',NULL,'','',NULL,4005,3,'Xa5vYTfeqb_ZiRuQvh9Rh14e',1700000640.0);
INSERT INTO "judgements" VALUES(37,4,4,NULL,0,NULL,1,'a',2,'[]',NULL,'the shorter one','',NULL,NULL,1,'adjudication-4-0',1700000645.0);
INSERT INTO "judgements" VALUES(38,13,2,33,0,NULL,0,'tie',NULL,'[]',NULL,'','','a',NULL,1,'_zg3e-S951OdWLR_S1ts8kBp',1700000648.0);
CREATE TABLE login_failures (
	id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	address VARCHAR NOT NULL, 
	at DOUBLE NOT NULL, 
	CONSTRAINT pk_login_failures PRIMARY KEY (id)
);
INSERT INTO "login_failures" VALUES(1,'hunter2-typed-as-a-name','203.0.113.9',1700000640.0);
CREATE TABLE logins (
	cookie_hash VARCHAR NOT NULL, 
	user_id INTEGER NOT NULL, 
	created DOUBLE NOT NULL, 
	expires DOUBLE NOT NULL, 
	CONSTRAINT pk_logins PRIMARY KEY (cookie_hash), 
	CONSTRAINT fk_logins_user_id FOREIGN KEY(user_id) REFERENCES users (id)
);
INSERT INTO "logins" VALUES('07d9640a292080be02a1c3b9910479827f037549810cc2c91d8e1e7a97c3aa81',1,1700000640.0,1701210240.0);
CREATE TABLE projects (
	id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	votes_per_item INTEGER NOT NULL, 
	gold_rate DOUBLE NOT NULL, 
	repeat_rate DOUBLE NOT NULL, 
	eval_fraction DOUBLE NOT NULL, 
	lease_seconds DOUBLE NOT NULL, 
	created DOUBLE NOT NULL, 
	CONSTRAINT pk_projects PRIMARY KEY (id), 
	CONSTRAINT ck_projects_kind CHECK (kind IN ('preference', 'safety')), 
	CONSTRAINT ck_projects_votes_per_item CHECK (votes_per_item > 0), 
	CONSTRAINT uq_projects_name UNIQUE (name)
);
INSERT INTO "projects" VALUES(1,'cooking','preference',2,0.1,0.1,0.3,900.0,1700000000.0);
INSERT INTO "projects" VALUES(2,'care','safety',1,0.0,0.0,0.3,900.0,1700000000.0);
CREATE TABLE responses (
	id INTEGER NOT NULL, 
	item_id INTEGER NOT NULL, 
	slot VARCHAR NOT NULL, 
	messages JSON NOT NULL, 
	model VARCHAR, 
	CONSTRAINT pk_responses PRIMARY KEY (id), 
	CONSTRAINT fk_responses_item_id FOREIGN KEY(item_id) REFERENCES items (id), 
	CONSTRAINT uq_responses_item_id_slot UNIQUE (item_id, slot)
);
INSERT INTO "responses" VALUES(1,1,'a','[{"role": "assistant", "content": "About 10 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(2,1,'b','[{"role": "assistant", "content": "Until it is done, dish 0 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(3,2,'a','[{"role": "assistant", "content": "About 11 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(4,2,'b','[{"role": "assistant", "content": "Until it is done, dish 1 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(5,3,'a','[{"role": "assistant", "content": "About 12 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(6,3,'b','[{"role": "assistant", "content": "Until it is done, dish 2 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(7,4,'a','[{"role": "assistant", "content": "About 13 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(8,4,'b','[{"role": "assistant", "content": "Until it is done, dish 3 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(9,5,'a','[{"role": "assistant", "content": "About 14 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(10,5,'b','[{"role": "assistant", "content": "Until it is done, dish 4 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(11,6,'a','[{"role": "assistant", "content": "About 15 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(12,6,'b','[{"role": "assistant", "content": "Until it is done, dish 5 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(13,7,'a','[{"role": "assistant", "content": "About 16 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(14,7,'b','[{"role": "assistant", "content": "Until it is done, dish 6 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(15,8,'a','[{"role": "assistant", "content": "About 17 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(16,8,'b','[{"role": "assistant", "content": "Until it is done, dish 7 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(17,9,'a','[{"role": "assistant", "content": "About 18 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(18,9,'b','[{"role": "assistant", "content": "Until it is done, dish 8 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(19,10,'a','[{"role": "assistant", "content": "About 19 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(20,10,'b','[{"role": "assistant", "content": "Until it is done, dish 9 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(21,11,'a','[{"role": "assistant", "content": "About 20 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(22,11,'b','[{"role": "assistant", "content": "Until it is done, dish 10 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(23,12,'a','[{"role": "assistant", "content": "About 21 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(24,12,'b','[{"role": "assistant", "content": "Until it is done, dish 11 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(25,13,'a','[{"role": "assistant", "content": "About 22 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(26,13,'b','[{"role": "assistant", "content": "Until it is done, dish 12 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(27,14,'a','[{"role": "assistant", "content": "About 23 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(28,14,'b','[{"role": "assistant", "content": "Until it is done, dish 13 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(29,15,'a','[{"role": "assistant", "content": "About 60 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(30,15,'b','[{"role": "assistant", "content": "Until it is done, dish 50 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(31,16,'a','[{"role": "assistant", "content": "About 61 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(32,16,'b','[{"role": "assistant", "content": "Until it is done, dish 51 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(33,17,'a','[{"role": "assistant", "content": "About 70 minutes; look at it earlier."}]','model-x');
INSERT INTO "responses" VALUES(34,17,'b','[{"role": "assistant", "content": "Until it is done, dish 60 is never the same."}]','model-y');
INSERT INTO "responses" VALUES(35,18,'a','[{"role": "assistant", "content": "Answer 0: ask a pharmacist."}]',NULL);
INSERT INTO "responses" VALUES(36,19,'a','[{"role": "assistant", "content": "Answer 1: ask a pharmacist."}]',NULL);
INSERT INTO "responses" VALUES(37,20,'a','[{"role": "assistant", "content": "Answer 2: ask a pharmacist."}]',NULL);
INSERT INTO "responses" VALUES(38,21,'a','[{"role": "assistant", "content": "Answer 3: ask a pharmacist."}]',NULL);
INSERT INTO "responses" VALUES(39,22,'a','[{"role": "assistant", "content": "Answer 4: ask a pharmacist."}]',NULL);
INSERT INTO "responses" VALUES(40,23,'a','[{"role": "assistant", "content": "Answer 5: ask a pharmacist."}]',NULL);
INSERT INTO "responses" VALUES(41,24,'a','[{"role": "assistant", "content": "Answer 6: ask a pharmacist."}]',NULL);
INSERT INTO "responses" VALUES(42,25,'a','[{"role": "assistant", "content": "Answer 7: ask a pharmacist."}]',NULL);
CREATE TABLE scores (
	id INTEGER NOT NULL, 
	item_id INTEGER NOT NULL, 
	scorer VARCHAR NOT NULL, 
	score_a DOUBLE NOT NULL, 
	score_b DOUBLE, 
	created DOUBLE NOT NULL, 
	CONSTRAINT pk_scores PRIMARY KEY (id), 
	CONSTRAINT fk_scores_item_id FOREIGN KEY(item_id) REFERENCES items (id), 
	CONSTRAINT uq_scores_item_id_scorer UNIQUE (item_id, scorer)
);
INSERT INTO "scores" VALUES(1,1,'rm-1',-2.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(2,2,'rm-1',-1.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(3,3,'rm-1',0.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(4,4,'rm-1',1.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(5,5,'rm-1',2.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(6,6,'rm-1',-2.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(7,7,'rm-1',-1.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(8,8,'rm-1',0.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(9,9,'rm-1',1.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(10,10,'rm-1',2.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(11,11,'rm-1',-2.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(12,12,'rm-1',-1.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(13,13,'rm-1',0.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(14,14,'rm-1',1.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(15,15,'rm-1',2.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(16,16,'rm-1',-2.0,0.25,1700000640.0);
INSERT INTO "scores" VALUES(17,17,'rm-1',-1.0,0.25,1700000640.0);
CREATE TABLE snapshot_judgements (
	snapshot_id INTEGER NOT NULL, 
	judgement_id INTEGER NOT NULL, 
	CONSTRAINT pk_snapshot_judgements PRIMARY KEY (snapshot_id, judgement_id), 
	CONSTRAINT fk_snapshot_judgements_judgement_id FOREIGN KEY(judgement_id) REFERENCES judgements (id), 
	CONSTRAINT fk_snapshot_judgements_snapshot_id FOREIGN KEY(snapshot_id) REFERENCES snapshots (id)
);
INSERT INTO "snapshot_judgements" VALUES(1,1);
INSERT INTO "snapshot_judgements" VALUES(1,2);
INSERT INTO "snapshot_judgements" VALUES(1,3);
INSERT INTO "snapshot_judgements" VALUES(1,4);
INSERT INTO "snapshot_judgements" VALUES(1,5);
INSERT INTO "snapshot_judgements" VALUES(1,6);
INSERT INTO "snapshot_judgements" VALUES(1,7);
INSERT INTO "snapshot_judgements" VALUES(1,8);
INSERT INTO "snapshot_judgements" VALUES(1,9);
INSERT INTO "snapshot_judgements" VALUES(1,10);
INSERT INTO "snapshot_judgements" VALUES(1,11);
INSERT INTO "snapshot_judgements" VALUES(1,13);
INSERT INTO "snapshot_judgements" VALUES(1,14);
INSERT INTO "snapshot_judgements" VALUES(1,16);
INSERT INTO "snapshot_judgements" VALUES(1,17);
INSERT INTO "snapshot_judgements" VALUES(1,18);
INSERT INTO "snapshot_judgements" VALUES(1,19);
INSERT INTO "snapshot_judgements" VALUES(1,20);
INSERT INTO "snapshot_judgements" VALUES(1,21);
INSERT INTO "snapshot_judgements" VALUES(1,22);
INSERT INTO "snapshot_judgements" VALUES(1,23);
INSERT INTO "snapshot_judgements" VALUES(1,24);
INSERT INTO "snapshot_judgements" VALUES(1,25);
INSERT INTO "snapshot_judgements" VALUES(1,26);
INSERT INTO "snapshot_judgements" VALUES(1,27);
INSERT INTO "snapshot_judgements" VALUES(1,28);
INSERT INTO "snapshot_judgements" VALUES(1,30);
INSERT INTO "snapshot_judgements" VALUES(1,37);
INSERT INTO "snapshot_judgements" VALUES(2,31);
INSERT INTO "snapshot_judgements" VALUES(2,32);
INSERT INTO "snapshot_judgements" VALUES(2,33);
INSERT INTO "snapshot_judgements" VALUES(2,34);
INSERT INTO "snapshot_judgements" VALUES(2,35);
INSERT INTO "snapshot_judgements" VALUES(2,36);
CREATE TABLE snapshots (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	author VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	created DOUBLE NOT NULL, 
	CONSTRAINT pk_snapshots PRIMARY KEY (id), 
	CONSTRAINT fk_snapshots_project_id FOREIGN KEY(project_id) REFERENCES projects (id), 
	CONSTRAINT uq_snapshots_project_id_name UNIQUE (project_id, name)
);
INSERT INTO "snapshots" VALUES(1,1,'s1','root','1d92efa00d6b0dbfd3cc71bb12b1d3eadba44665514c2af90bf2ab86ddc586c9',1700000646.0);
INSERT INTO "snapshots" VALUES(2,2,'s1','root','ef0561fbb5b5c7ff9f0aef6aef1038671edb81a257934ad5788ddf3daa2050db',1700000646.0);
CREATE TABLE users (
	id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	role VARCHAR NOT NULL, 
	password VARCHAR, 
	active BOOLEAN NOT NULL, 
	created DOUBLE NOT NULL, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT ck_users_role CHECK (role IN ('annotator', 'reviewer', 'admin')), 
	CONSTRAINT uq_users_name UNIQUE (name)
);
INSERT INTO "users" VALUES(1,'ann','annotator','scrypt$k0b0GnyNteIyZnize8btIg==$dp7YDWajkB41+KoD+F4ZwZ4dkRx61xTZ9mBaB+ZN+sO4bc2XaJMgi56E0PmpYPiteezNI1owTaIC1KDxaYNOKg==',1,1700000000.0);
INSERT INTO "users" VALUES(2,'bob','annotator',NULL,1,1700000000.0);
INSERT INTO "users" VALUES(3,'cyd','annotator',NULL,0,1700000000.0);
INSERT INTO "users" VALUES(4,'rev','reviewer',NULL,1,1700000000.0);
INSERT INTO "users" VALUES(5,'root','admin',NULL,1,1700000000.0);
INSERT INTO "users" VALUES(6,'made up/eva','annotator',NULL,1,1700000000.0);
INSERT INTO "users" VALUES(7,'made up/finn','annotator',NULL,1,1700000000.0);
CREATE INDEX ix_login_failures_at ON login_failures (at);
CREATE INDEX ix_items_queue ON items (project_id, rank);
CREATE INDEX ix_logins_user_id ON logins (user_id);
CREATE INDEX ix_assignments_state ON assignments (state, expires);
CREATE INDEX ix_assignments_user ON assignments (user_id, state);
CREATE INDEX ix_judgements_assignment_id ON judgements (assignment_id);
CREATE INDEX ix_judgements_item_id ON judgements (item_id);
CREATE INDEX ix_judgements_user_id ON judgements (user_id);
CREATE TRIGGER judgements_no_update BEFORE UPDATE ON judgements BEGIN SELECT RAISE(ABORT, 'judgements is append-only'); END;
CREATE TRIGGER judgements_no_delete BEFORE DELETE ON judgements BEGIN SELECT RAISE(ABORT, 'judgements is append-only'); END;
CREATE TRIGGER snapshots_no_update BEFORE UPDATE ON snapshots BEGIN SELECT RAISE(ABORT, 'snapshots is append-only'); END;
CREATE TRIGGER snapshots_no_delete BEFORE DELETE ON snapshots BEGIN SELECT RAISE(ABORT, 'snapshots is append-only'); END;
CREATE TRIGGER snapshot_judgements_no_update BEFORE UPDATE ON snapshot_judgements BEGIN SELECT RAISE(ABORT, 'snapshot_judgements is append-only'); END;
CREATE TRIGGER snapshot_judgements_no_delete BEFORE DELETE ON snapshot_judgements BEGIN SELECT RAISE(ABORT, 'snapshot_judgements is append-only'); END;
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE INDEX ix_jobs_project_id ON jobs (project_id);
COMMIT;
